import type { UnderlayAdmission } from "../../backend/backend.ts";
import type { Prefix } from "../../ip/prefix.ts";
import type { Flavour } from "../../kernel/firewall/firewall.ts";
import type { FirewallChain } from "../../kernel/firewall/rule.ts";
import type { FlavourChoice } from "./flavour.ts";
import { clampChain, forwardChain, masqueradeChain, underlayChain } from "./rules.ts";

/** What the operator wants of the host's packet filters. */
export interface FirewallPolicy {
  readonly flavour: FlavourChoice;
  /** `--ip-masq` */
  readonly masquerade: boolean;
  /** `--ip-masq-exclude` */
  readonly excluded: readonly Prefix[];
  /** `--clamp-mss` */
  readonly clampMss: boolean;
  /** `--underlay-admission`: packets between hosts are let in from peers only. */
  readonly admission: boolean;
}

/** What of a network's is in one address family: rules are made for each by itself. */
export interface Overlay {
  readonly network: Prefix;
  /** What of it is this host's. */
  readonly subnet: Prefix;
}

/** Where rules of each kind stand. */
export interface Places {
  /** What is done once to a packet is done here; undefined if nowhere. */
  readonly usual: Flavour | undefined;
  /** Whose FORWARD may drop or reject: packets pass them all. */
  readonly forwarding: readonly Flavour[];
  /** Where the set of peers is known. */
  readonly admission: Flavour | undefined;
}

/** The chains of one overlay in one packet filter of the host. Pure. @param admission undefined until all peers are known */
export function wantedChains(
  flavour: Flavour,
  { network, subnet }: Overlay,
  policy: FirewallPolicy,
  places: Places,
  admission: UnderlayAdmission | undefined,
): readonly FirewallChain[] {
  const chains: FirewallChain[] = [];
  const isUsual = places.usual === flavour;
  if (isUsual && policy.masquerade) chains.push(masqueradeChain({ network, subnet, excluded: policy.excluded }));
  if (isUsual && policy.clampMss) chains.push(clampChain(network));
  if (places.forwarding.includes(flavour)) chains.push(forwardChain(network));
  if (admission !== undefined && places.admission === flavour)
    chains.push(underlayChain(admission, network.address.family));
  return chains;
}
