import type { Family } from "../ip/address.ts";
import type { Prefix } from "../ip/prefix.ts";
import type { Lease } from "./lease.ts";

/** What is made of a lease is made once: its IPv6 half is the same object as long as the lease is. */
const ipv6Halves = new WeakMap<Lease, Lease | undefined>();

/**
 * What a lease says in one family, as a lease of that family alone: whoever works on halves knows nothing of the other family.
 * Undefined if it holds no subnet of that family, or names no address that leads there.
 */
export function halfOf(lease: Lease, family: Family): Lease | undefined {
  if (lease.subnet.address.family === family) return lease;
  if (family === 4 || lease.ipv6Subnet === undefined) return undefined;
  if (!ipv6Halves.has(lease)) ipv6Halves.set(lease, ipv6Half(lease, lease.ipv6Subnet));
  return ipv6Halves.get(lease);
}

function ipv6Half(lease: Lease, subnet: Prefix): Lease | undefined {
  const { ipv6Subnet: _ipv6Subnet, attributes, ...rest } = lease;
  const { publicIPv6, backendV6Data, backendData: _backendData, ...common } = attributes;
  if (publicIPv6 === undefined) return undefined;
  const half = { ...common, publicIP: publicIPv6, ...(backendV6Data !== undefined && { backendData: backendV6Data }) };
  return { ...rest, subnet, attributes: half };
}

/** The subnets that a lease holds, IPv4 first. */
export function subnetsOf({ subnet, ipv6Subnet }: Pick<Lease, "subnet" | "ipv6Subnet">): readonly Prefix[] {
  return ipv6Subnet === undefined ? [subnet] : [subnet, ipv6Subnet];
}
