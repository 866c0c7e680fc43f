import type { Family } from "../../ip/address.ts";

/** Bytes VXLAN adds to a packet: outer IPv4 20 + UDP 8 + VXLAN 8 + inner Ethernet 14. RFC 7348 §5. */
const VXLAN_OVERHEAD_IPV4 = 50;
/** The same with an outer IPv6 header of 40. */
const VXLAN_OVERHEAD_IPV6 = 70;

/** What the underlay's family costs. */
export function vxlanOverhead(underlay: Family): number {
  return underlay === 4 ? VXLAN_OVERHEAD_IPV4 : VXLAN_OVERHEAD_IPV6;
}
