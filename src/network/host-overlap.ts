import { addressBits } from "../ip/address.ts";
import { containsPrefix, formatPrefix, lastAddress, networkOf, type Prefix } from "../ip/prefix.ts";
import type { Link, LinkAddress } from "../kernel/kernel.ts";
import type { NetworkConfig } from "../lease/network-config.ts";
import { MADE_BY_FLANNEL } from "./host-links.ts";

type SubnetRange = Pick<NetworkConfig, "network" | "subnetMin" | "subnetMax" | "subnetLength">;

/**
 * A route of this host to its own neighbours that pods could be mistaken for: either they or those pods could not be reached.
 * Addresses of the Network that no subnet is leased from may be hosts'; containers on a bridge are nobody's neighbours.
 * @returns what is wrong, naming the route as iproute2 does; undefined if there is none
 */
export function overlapWithHost(
  range: SubnetRange,
  links: readonly Link[],
  addresses: readonly LinkAddress[],
): string | undefined {
  const kinds = new Map(links.map(({ name, kind }) => [name, kind]));
  for (const { link, address } of addresses) {
    if (address.address.family !== range.network.address.family || MADE_BY_FLANNEL.test(link)) continue;
    if (address.length === addressBits(address.address.family)) continue; // of which no route is made
    const destination = networkOf(address.address, address.length);
    const isPods = kinds.get(link) === "bridge" && address.length >= range.subnetLength;
    if (isPods || !touchesSubnets(destination, range)) continue;
    const isInside = containsPrefix(range.network, destination);
    const remedy = isInside ? "; SubnetMin and SubnetMax may keep the subnets off it" : "";
    return `${formatPrefix(range.network)} overlaps this host's own route ${formatPrefix(destination)} dev ${link}${remedy}`;
  }
  return undefined;
}

function touchesSubnets(destination: Prefix, { subnetMin, subnetMax, subnetLength }: SubnetRange): boolean {
  const end = lastAddress({ address: subnetMax, length: subnetLength });
  return destination.address.value <= end.value && lastAddress(destination).value >= subnetMin.value;
}
