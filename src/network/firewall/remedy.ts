import { formatPrefix, type Prefix } from "../../ip/prefix.ts";
import type { BlockingRule } from "../../kernel/firewall/obstacles.ts";

/** What a rule stops: the overlay's packets on their way through this host, or other hosts' to a UDP port of ours. */
export type Stopped = { readonly network: Prefix } | { readonly port: number };

/** Chains of firewalld for what comes in, a zone's each: `filter_IN_public` in nftables, `IN_public` in iptables. Policies have chains, too. Nothing but a name: it goes into a command. */
const INWARD = /^(?:filter_)?IN_(?!policy_)(?<zone>[\w-]+)$/;

/**
 * The commands that make the program whose rule it is let such packets pass, for an administrator to run; undefined if nothing is known of
 * that program. Pure.
 */
export function remedyFor({ table, chain }: BlockingRule, stopped: Stopped): string | undefined {
  const zone = INWARD.exec(chain)?.groups?.["zone"];
  if (table !== "inet firewalld" && !(table.startsWith("iptables-") && zone !== undefined)) return undefined;
  const what =
    "port" in stopped
      ? `${zone === undefined ? "" : ` --zone=${zone}`} --add-port=${stopped.port}/udp`
      : ` --zone=trusted --add-source=${formatPrefix(stopped.network)}`;
  return `firewall-cmd --permanent${what} && firewall-cmd --reload`;
}
