import { addressBits, compareAddress } from "../ip/address.ts";
import { firstAddress, formatPrefix, isNetwork, lastAddress, overlaps, type Prefix } from "../ip/prefix.ts";
import type { LeaseSubnets } from "./lease-codec.ts";
import type { NetworkConfig, SubnetRange } from "./network-config.ts";

/** A new lease is one of this many first free subnets, at random, so that hosts that start together seldom want the same one. */
export const CANDIDATES = 100;

/** Whether a lease on `subnet` could have been made under this range. */
export function fitsConfig(subnet: Prefix, range: SubnetRange): boolean {
  return (
    subnet.length === range.subnetLength &&
    isNetwork(subnet) &&
    compareAddress(range.subnetMin, subnet.address) <= 0 &&
    compareAddress(subnet.address, range.subnetMax) <= 0
  );
}

/** Whether a lease on these subnets is what a host of both of the config's families, or of its only one, has. */
export function fitsNetwork({ subnet, ipv6Subnet }: LeaseSubnets, config: NetworkConfig): boolean {
  if (!fitsConfig(subnet, config)) return false;
  if (config.ipv6 === undefined || ipv6Subnet === undefined) return config.ipv6 === ipv6Subnet;
  return fitsConfig(ipv6Subnet, config.ipv6);
}

/** The first `limit` subnets of the range that overlap no taken one of whatever length, in order. O(n log n) in the taken ones, whatever their size. */
export function freeSubnets(range: SubnetRange, taken: Iterable<Prefix>, limit = CANDIDATES): Prefix[] {
  const { family } = range.subnetMin;
  const size = 1n << BigInt(addressBits(family) - range.subnetLength);
  const ranges = [...taken]
    .filter((prefix) => prefix.address.family === family)
    .map((prefix) => ({ first: firstAddress(prefix).value, last: lastAddress(prefix).value }))
    .toSorted((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
  const free: Prefix[] = [];
  let next = 0;
  let covered = -1n; // the highest address of the ranges that begin before the candidate's end
  for (let value = range.subnetMin.value; value <= range.subnetMax.value && free.length < limit; ) {
    for (let held = ranges[next]; held !== undefined && held.first < value + size; held = ranges[++next])
      if (held.last > covered) covered = held.last;
    if (covered < value) {
      free.push({ address: { family, value }, length: range.subnetLength });
      value += size;
    } else value = (covered / size + 1n) * size;
  }
  return free;
}

/** Whether `subnet` overlaps none of `taken`. */
export function isFree(subnet: Prefix, taken: Iterable<Prefix>): boolean {
  for (const other of taken) if (overlaps(subnet, other)) return false;
  return true;
}

/** For messages: `10.5.1.0/24 to 10.5.255.0/24`. */
export function formatRange(range: SubnetRange): string {
  const end = (address: SubnetRange["subnetMin"]) => formatPrefix({ address, length: range.subnetLength });
  return `${end(range.subnetMin)} to ${end(range.subnetMax)}`;
}
