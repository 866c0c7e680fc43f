import type { Prefix } from "../../ip/prefix.ts";
import { type FirewallRule, formatMatch, formatRule, ipsetName, type VxlanMatch } from "./rule.ts";

/** A rule of a chain as `iptables -S` shows it, of which it may need two. @param network whose peers are meant */
export function xtablesRules(chain: string, rule: FirewallRule, network: Prefix): readonly string[] {
  if (rule.vxlan !== undefined) return underlayRules(chain, rule, rule.vxlan, network);
  return [`-A ${chain} ${formatRule(rule)}${rule.verdict === "masquerade" ? " --random-fully" : ""}`];
}

/** Where a vxlan packet's VNI is: twelve bytes after its UDP header begins, which in IPv4 is where the header's length says. */
const VNI_AT = { 4: "0x0>>0x16&0x3c@0xc>>0x8", 6: "0x34>>0x8" } as const;
/** IPv6's "next header" is not UDP: there are extension headers, behind which the VNI cannot be found. Hosts send none. */
const HIDDEN = '-m u32 ! --u32 "0x4>>0x8&0xff=0x11"';

function underlayRules(chain: string, rule: FirewallRule, { port, vni }: VxlanMatch, network: Prefix): string[] {
  const { source, fromPeer, verdict } = rule;
  const { family } = network.address;
  const from = source === undefined ? "" : `${formatMatch("-s", source)} `;
  const udp = `-p udp -m udp --dport ${port}`;
  const peers = fromPeer ? ` -m set --match-set ${ipsetName(network)} src` : "";
  const target = `-j ${verdict.toUpperCase()}`;
  const lines = [`-A ${chain} ${from}${udp} -m u32 --u32 "${VNI_AT[family]}=0x${vni.toString(16)}"${peers} ${target}`];
  if (family === 6 && verdict === "drop") lines.push(`-A ${chain} ${udp} ${HIDDEN} ${target}`);
  return lines;
}

/** `KUBE-FORWARD` of `-A FORWARD -m comment --comment "…" -j KUBE-FORWARD`; undefined if it goes nowhere. */
export function targetOf(rule: string): string | undefined {
  return / -[jg] (\S+)/.exec(rule)?.[1];
}

/**
 * Whose jumps may stand before ours: in FORWARD they hold the policies that an administrator made for pods, and an accept before
 * them would let in what these keep out. And other networks' chains of our own kind, which concern nothing but their own.
 */
const PREDECESSORS = /^(?:FLANNEL-[A-Z]-|cali-FORWARD$|KUBE-ROUTER-FORWARD$|CILIUM_FORWARD$|WEAVE-NPC|DOCKER-USER$)/;

export function mayPrecede(rule: string): boolean {
  const target = targetOf(rule);
  return target !== undefined && PREDECESSORS.test(target);
}
