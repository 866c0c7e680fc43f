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
import type { Lease } from "./lease.ts";
import type { NetworkConfig } from "./network-config.ts";

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
type SubnetRange = Pick<NetworkConfig, "network" | "subnetMin" | "subnetMax" | "subnetLength">;

type Verdict = "own" | "peer" | { readonly lease: Lease; readonly reason: string };

/**
 * Picks the other hosts' leases. What the store holds comes from anybody: a lease that would cut off our own pods or the underlay
 * is left out. Each lease object is judged once, since the same thousands come again with every change.
 */
export function peerSelector(own: Lease, config: SubnetRange): (leases: Iterable<Lease>) => PeerSelection {
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
      if (verdict === "peer") peers.push(lease);
      else if (verdict !== "own") rejected.push(verdict);
    }
    return { peers, rejected };
  };
}

function judge(lease: Lease, own: Lease, config: SubnetRange): Verdict {
  if (equalPrefix(lease.subnet, own.subnet)) return "own";
  if (equalAddress(lease.attributes.publicIP, own.attributes.publicIP)) return "own";
  const reason = unusable(lease, own, config);
  return reason === undefined ? "peer" : { lease, reason };
}

function unusable(lease: Lease, own: Lease, config: SubnetRange): string | undefined {
  const { network } = config;
  const { subnet, attributes } = lease;
  const { publicIP } = attributes;
  if (!containsPrefix(network, subnet)) return `its subnet is not in the Network ${formatPrefix(network)}`;
  if (overlaps(subnet, own.subnet)) return `its subnet overlaps our own ${formatPrefix(own.subnet)}`;
  if (!isHostAddress(publicIP)) return `its public IP ${formatAddress(publicIP)} is no host's address`;
  if (mayBePods(publicIP, config))
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
