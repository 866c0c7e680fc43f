import { type FirewallRule, formatRule } from "./rule.ts";

/** A rule of a chain as `iptables -S` shows it. */
export function xtablesRule(chain: string, rule: FirewallRule): string {
  return `-A ${chain} ${formatRule(rule)}${rule.verdict === "masquerade" ? " --random-fully" : ""}`;
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
