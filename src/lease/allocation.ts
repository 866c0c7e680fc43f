import { addressBits, compareAddress } from "../ip/address.ts";
import { firstAddress, formatPrefix, isNetwork, lastAddress, overlaps, type Prefix } from "../ip/prefix.ts";
import type { NetworkConfig } from "./network-config.ts";

/** A new lease is one of this many first free subnets, at random, so that hosts that start together seldom want the same one. */
export const CANDIDATES = 100;

/** Whether a lease on `subnet` could have been made under this config. */
export function fitsConfig(subnet: Prefix, config: NetworkConfig): boolean {
  return (
    subnet.length === config.subnetLength &&
    isNetwork(subnet) &&
    compareAddress(config.subnetMin, subnet.address) <= 0 &&
    compareAddress(subnet.address, config.subnetMax) <= 0
  );
}

/** The first `limit` subnets of the config that overlap no taken one of whatever length, in order. O(n log n) in the taken ones, whatever their size. */
export function freeSubnets(config: NetworkConfig, taken: Iterable<Prefix>, limit = CANDIDATES): Prefix[] {
  const { family } = config.subnetMin;
  const size = 1n << BigInt(addressBits(family) - config.subnetLength);
  const ranges = [...taken]
    .filter((prefix) => prefix.address.family === family)
    .map((prefix) => ({ first: firstAddress(prefix).value, last: lastAddress(prefix).value }))
    .toSorted((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
  const free: Prefix[] = [];
  let next = 0;
  let covered = -1n; // the highest address of the ranges that begin before the candidate's end
  for (let value = config.subnetMin.value; value <= config.subnetMax.value && free.length < limit; ) {
    for (let range = ranges[next]; range !== undefined && range.first < value + size; range = ranges[++next])
      if (range.last > covered) covered = range.last;
    if (covered < value) {
      free.push({ address: { family, value }, length: config.subnetLength });
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
export function formatRange(config: NetworkConfig): string {
  const end = (address: NetworkConfig["subnetMin"]) => formatPrefix({ address, length: config.subnetLength });
  return `${end(config.subnetMin)} to ${end(config.subnetMax)}`;
}
