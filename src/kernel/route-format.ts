import { formatAddress } from "../ip/address.ts";
import { formatPrefix } from "../ip/prefix.ts";
import type { KernelRoute } from "./kernel.ts";

const PROTOCOL_NAMES: Readonly<Record<number, string>> = {
  0: "unspec",
  1: "redirect",
  2: "kernel",
  3: "boot",
  4: "static",
  9: "ra",
  11: "zebra",
  12: "bird",
  16: "dhcp",
  186: "bgp",
  187: "isis",
  188: "ospf",
};

/** As iproute2 writes it: `10.5.2.0/24 via 192.168.0.7 dev eth0 proto static`. */
export function formatRoute(route: KernelRoute): string {
  const via = route.gateway === undefined ? "" : ` via ${formatAddress(route.gateway)}`;
  const dev = route.link === undefined ? "" : ` dev ${route.link}`;
  return `${formatPrefix(route.destination)}${via}${dev} proto ${PROTOCOL_NAMES[route.protocol] ?? route.protocol}`;
}
