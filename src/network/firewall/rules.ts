import type { UnderlayAdmission } from "../../backend/backend.ts";
import type { Family } from "../../ip/address.ts";
import { type Prefix, parsePrefix } from "../../ip/prefix.ts";
import { type FirewallChain, type FirewallRule, inside, type MarkMatch, outside } from "../../kernel/firewall/rule.ts";

/** What kube-proxy marks packets with that it will masquerade itself. */
const KUBERNETES_MARK: MarkMatch = { value: 0x4000, mask: 0x4000 };

const MULTICAST: Readonly<Record<Family, Prefix>> = { 4: parsePrefix("224.0.0.0/4"), 6: parsePrefix("ff00::/8") };

export interface MasqueradeOptions {
  /** The whole overlay. */
  readonly network: Prefix;
  /** What of it is this host's. */
  readonly subnet: Prefix;
  /** Beyond the overlay, but reached and reaching with true addresses. */
  readonly excluded: readonly Prefix[];
}

/**
 * Packets between pods, and from outside to a pod of this host, keep their source; what leaves the overlay gets the host's, and so does
 * what enters it by this host towards another one's pod, whose answer must come back here.
 */
export function masqueradeChain({ network, subnet, excluded }: MasqueradeOptions): FirewallChain {
  const known = excluded.filter(({ address }) => address.family === network.address.family);
  const rules: readonly FirewallRule[] = [
    { mark: KUBERNETES_MARK, verdict: "return" },
    { source: inside(subnet), destination: inside(network), verdict: "return" },
    { source: inside(network), destination: inside(subnet), verdict: "return" },
    { source: outside(network), destination: inside(subnet), verdict: "return" },
    ...known.flatMap((prefix): readonly FirewallRule[] => [
      { source: inside(network), destination: inside(prefix), verdict: "return" },
      { source: inside(prefix), destination: inside(network), verdict: "return" },
    ]),
    { source: inside(network), destination: outside(MULTICAST[network.address.family]), verdict: "masquerade" },
    { source: outside(network), destination: inside(network), verdict: "masquerade" },
  ];
  return { purpose: "masquerade", rules };
}

/**
 * Packets of our vxlan network come from peers only, or from whom the config lets in. Those of others on the same port pass.
 * @param family of the hosts' own addresses
 */
export function underlayChain({ port, vni, acceptFrom }: UnderlayAdmission, family: Family): FirewallChain {
  const vxlan = { port, vni };
  const accepted = acceptFrom.filter(({ address }) => address.family === family);
  return {
    purpose: "underlay",
    rules: [
      { vxlan, fromPeer: true, verdict: "return" },
      ...accepted.map((prefix): FirewallRule => ({ vxlan, source: inside(prefix), verdict: "return" })),
      { vxlan, verdict: "drop" },
    ],
  };
}

/** TCP connections from the overlay and to it agree on segments that fit through both ends' routes, whatever MTU a pod itself has. */
export function clampChain(network: Prefix): FirewallChain {
  return { purpose: "clamp", rules: bothWays(network, "clamp") };
}

/** What comes from the overlay or goes there is forwarded, whatever the policy says. */
export function forwardChain(network: Prefix): FirewallChain {
  return { purpose: "forward", rules: bothWays(network, "accept") };
}

function bothWays(network: Prefix, verdict: FirewallRule["verdict"]): readonly FirewallRule[] {
  return [
    { source: inside(network), verdict },
    { destination: inside(network), verdict },
  ];
}
