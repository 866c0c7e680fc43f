import {
  type Address,
  compareAddress,
  equalAddress,
  formatAddress,
  isLoopback,
  isMulticast,
  isReserved,
  isUnspecified,
} from "../ip/address.ts";
import { containsAddress, containsPrefix, equalPrefix, formatPrefix, lastAddress, overlaps } from "../ip/prefix.ts";
import { halfOf } from "./halves.ts";
import type { Lease } from "./lease.ts";
import type { NetworkConfig, SubnetRange } from "./network-config.ts";

export interface PeerSelection {
  readonly peers: readonly Lease[];
  readonly rejected: readonly RejectedPeer[];
}

/** A lease that could only do harm here. */
export interface RejectedPeer {
  readonly lease: Lease;
  readonly reason: string;
}

/** Where subnets are leased. */
type Ranges = SubnetRange & Pick<NetworkConfig, "ipv6">;

interface Verdict {
  /** What of the lease is of use; nothing of our own. */
  readonly peer: Lease | undefined;
  readonly rejected: readonly RejectedPeer[];
}

const OWN: Verdict = { peer: undefined, rejected: [] };

/**
 * Picks the other hosts' leases. What the store holds comes from anybody: a lease that would cut off our own pods or the underlay
 * is left out, or the half of it that would. Each lease object is judged once, since the same thousands come again with every change.
 */
export function peerSelector(own: Lease, config: Ranges): (leases: Iterable<Lease>) => PeerSelection {
  const verdicts = new WeakMap<Lease, Verdict>();
  return (leases) => {
    const peers: Lease[] = [];
    const rejected: RejectedPeer[] = [];
    for (const lease of leases) {
      let verdict = verdicts.get(lease);
      if (verdict === undefined) {
        verdict = judge(lease, own, config);
        verdicts.set(lease, verdict);
      }
      if (verdict.peer !== undefined) peers.push(verdict.peer);
      if (verdict.rejected.length > 0) rejected.push(...verdict.rejected);
    }
    return { peers, rejected };
  };
}

function judge(lease: Lease, own: Lease, config: Ranges): Verdict {
  if (equalPrefix(lease.subnet, own.subnet)) return OWN;
  if (equalAddress(lease.attributes.publicIP, own.attributes.publicIP)) return OWN;
  const rejected: RejectedPeer[] = [];
  const isOfUse = (half: Lease) => {
    const { family } = half.subnet.address;
    const range = family === config.network.address.family ? config : (config.ipv6 ?? config);
    const reason = unusable(half, halfOf(own, family) ?? own, range);
    if (reason !== undefined) rejected.push({ lease: half, reason });
    return reason === undefined;
  };
  const first = isOfUse(lease);
  // In a network of one family the other half is nobody's business.
  const ipv6 = config.ipv6 === undefined || lease.ipv6Subnet === undefined ? undefined : halfOf(lease, 6);
  const second = ipv6 !== undefined && isOfUse(ipv6);
  if (first) return { peer: ipv6 === undefined || second ? lease : withoutIPv6(lease), rejected };
  return { peer: second ? ipv6 : undefined, rejected };
}

function withoutIPv6(lease: Lease): Lease {
  const { ipv6Subnet: _ipv6Subnet, ...rest } = lease;
  return rest;
}

function unusable(lease: Lease, own: Lease, range: SubnetRange): string | undefined {
  const { network } = range;
  const { subnet, attributes } = lease;
  const { publicIP } = attributes;
  if (!containsPrefix(network, subnet)) return `its subnet is not in the Network ${formatPrefix(network)}`;
  if (overlaps(subnet, own.subnet)) return `its subnet overlaps our own ${formatPrefix(own.subnet)}`;
  if (equalAddress(publicIP, own.attributes.publicIP)) return `its public IP ${formatAddress(publicIP)} is our own`;
  if (!isHostAddress(publicIP)) return `its public IP ${formatAddress(publicIP)} is no host's address`;
  if (mayBePods(publicIP, range))
    return `its public IP ${formatAddress(publicIP)} lies in the Network ${formatPrefix(network)}`;
  const host = [publicIP, own.attributes.publicIP].find((address) => containsAddress(subnet, address));
  return host === undefined ? undefined : `its subnet holds a host's own address, ${formatAddress(host)}`;
}

/** A Network may hold the hosts too, as 0.7.0's documentation shows it, where SubnetMin and SubnetMax keep the subnets off them. */
function mayBePods(address: Address, { network, subnetMin, subnetMax, subnetLength }: SubnetRange): boolean {
  if (!containsAddress(network, address)) return false;
  const end = lastAddress({ address: subnetMax, length: subnetLength });
  return compareAddress(address, subnetMin) >= 0 && compareAddress(address, end) <= 0;
}

function isHostAddress(address: Address): boolean {
  return !(isLoopback(address) || isMulticast(address) || isUnspecified(address) || isReserved(address));
}
