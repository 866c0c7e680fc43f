import type { Table } from "../../dataplane/table.ts";
import type { Address } from "../../ip/address.ts";
import type { Prefix } from "../../ip/prefix.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Leftover, LeftoverScope } from "./leftovers.ts";
import type { BlockingRule } from "./obstacles.ts";
import type { Probe } from "./probe.ts";
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
  nftTable(network: Prefix, onRefused?: (packets: number) => void): Table<FirewallChain>;
  /**
   * The outer addresses of a network's peers, for rules of {@link FirewallRule.fromPeer}: in nftables, or for iptables where nftables cannot be
   * used; undefined where neither can.
   */
  peers(network: Prefix): Table<Address> | undefined;
  /** @returns undefined if that iptables is not installed */
  xtablesTable(
    kind: XtablesKind,
    network: Prefix,
    onRefused?: (packets: number) => void,
  ): Table<FirewallChain> | undefined;
  /** Calls back when others changed anything in nftables but rules of ours, or somebody did in the old iptables. */
  watchOthers(onChange: () => void): Disposable;
  /** The first rule of others that certainly stops one of these packets, which are of one family and go one way; undefined if there is none. */
  blockingRule(probes: readonly Probe[], options: Abortable): Promise<BlockingRule | undefined>;
  /** What flannels left in the packet filters, in all of them: to be listed and removed. */
  leftovers(scope: LeftoverScope): Table<Leftover>;
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
