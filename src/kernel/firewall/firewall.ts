import type { Table } from "../../dataplane/table.ts";
import type { Prefix } from "../../ip/prefix.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { FirewallChain } from "./rule.ts";

/** The two iptables: that on nftables, and the old one with tables of its own. A host may have rules in both, and packets pass both. */
export type XtablesKind = "nft" | "legacy";

/** Whose rules ours are. */
export type Flavour = "nftables" | "iptables-nft" | "iptables-legacy";

/** The packet filters of one network namespace. */
export interface Firewall extends Disposable {
  /** What there is for packets of a network's address family. Without a program; some microseconds. */
  survey(network: Prefix, options: Abortable): Promise<FirewallSurvey>;
  /** Calls back when another table of iptables appeared or went. */
  watchSurvey(onChange: () => void): Disposable;
  /** Our table in nftables. */
  nftTable(network: Prefix): Table<FirewallChain>;
  /** @returns undefined if that iptables is not installed */
  xtablesTable(kind: XtablesKind, network: Prefix): Table<FirewallChain> | undefined;
}

export interface FirewallSurvey {
  /** Whether nft is installed and the kernel has nftables. */
  readonly nftables: boolean;
  /** Whether our own chain for masquerading stands in nftables. */
  readonly isOurs: boolean;
  readonly nft: XtablesSurvey;
  readonly legacy: XtablesSurvey;
  /** Which of them is called by the plain name `iptables`, if one is. */
  readonly usual: XtablesKind | undefined;
}

export interface XtablesSurvey {
  readonly installed: boolean;
  /** The tables that somebody has used: `filter`, `nat`. */
  readonly tables: readonly string[];
  /** Whether there are rules in them; with nft, where that takes a program to know, whether there are tables. */
  readonly inUse: boolean;
}
