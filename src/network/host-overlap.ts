import { addressBits } from "../ip/address.ts";
import { containsPrefix, equalPrefix, formatPrefix, lastAddress, networkOf, type Prefix } from "../ip/prefix.ts";
import { type KernelRoute, type Link, type LinkAddress, ROUTE_PROTOCOL } from "../kernel/kernel.ts";
import { formatRoute } from "../kernel/route-format.ts";
import type { SubnetRange } from "../lease/network-config.ts";
import { isUnderlay, MADE_BY_FLANNEL } from "./host-links.ts";

/** What a host has that pods could be mistaken for. */
export interface HostNetworks {
  readonly links: readonly Link[];
  readonly addresses: readonly LinkAddress[];
  /** The main table. */
  readonly routes: readonly KernelRoute[];
}

/** RTPROT_KERNEL: made along with an address. */
const PROTOCOL_KERNEL = 2;

/**
 * A route of this host that pods could be mistaken for: either they or those that it leads to could not be reached. Addresses of the
 * Network that no subnet is leased from may be hosts'; containers on a bridge are nobody's neighbours.
 * @param isFlannels whether a flannel made a route
 * @returns what is wrong, naming the route as iproute2 does; undefined if there is none
 */
export function overlapWithHost(
  range: SubnetRange,
  host: HostNetworks,
  isFlannels: (route: KernelRoute) => boolean = () => false,
): string | undefined {
  const { network } = range;
  const own = neighbours(range, host) ?? routed(range, host, isFlannels);
  if (own === undefined) return undefined;
  const isInside = containsPrefix(network, own.destination);
  const remedy = isInside ? "; SubnetMin and SubnetMax may keep the subnets off it" : "";
  return `${formatPrefix(network)} overlaps this host's own route ${own.text}${remedy}`;
}

interface OwnRoute {
  readonly destination: Prefix;
  readonly text: string;
}

/** By an address: also of a link that is down just now. */
function neighbours(range: SubnetRange, { links, addresses }: HostNetworks): OwnRoute | undefined {
  const kinds = new Map(links.map(({ name, kind }) => [name, kind]));
  for (const { link, address } of addresses) {
    if (address.address.family !== range.network.address.family || MADE_BY_FLANNEL.test(link)) continue;
    if (address.length === addressBits(address.address.family)) continue; // of which no route is made
    const destination = networkOf(address.address, address.length);
    const isPods = kinds.get(link) === "bridge" && address.length >= range.subnetLength;
    if (!isPods && touchesSubnets(destination, range))
      return { destination, text: `${formatPrefix(destination)} dev ${link}` };
  }
  return undefined;
}

/**
 * By an entry of the main table, as a VPN or an administrator makes it. One that leads to much more than the Network, as to all of 10/8,
 * is like the default route: what is more specific is meant to go elsewhere. Containers may have routes of their own.
 */
function routed(
  range: SubnetRange,
  { links, routes }: HostNetworks,
  isFlannels: (route: KernelRoute) => boolean,
): OwnRoute | undefined {
  const { network } = range;
  const others = new Set(links.filter((link) => !isUnderlay(link)).map(({ name }) => name));
  for (const route of routes) {
    const { destination, protocol, link, unicast } = route;
    if (destination.address.family !== network.address.family || !unicast) continue;
    if (protocol === PROTOCOL_KERNEL || protocol === ROUTE_PROTOCOL || isFlannels(route)) continue;
    if (link !== undefined && others.has(link)) continue;
    if (containsPrefix(destination, network) && !equalPrefix(destination, network)) continue;
    if (touchesSubnets(destination, range)) return { destination, text: formatRoute(route) };
  }
  return undefined;
}

function touchesSubnets(destination: Prefix, { subnetMin, subnetMax, subnetLength }: SubnetRange): boolean {
  const end = lastAddress({ address: subnetMax, length: subnetLength });
  return destination.address.value <= end.value && lastAddress(destination).value >= subnetMin.value;
}
