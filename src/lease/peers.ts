import {
  type Address,
  equalAddress,
  formatAddress,
  isLoopback,
  isMulticast,
  isReserved,
  isUnspecified,
} from "../ip/address.ts";
import { containsAddress, containsPrefix, equalPrefix, formatPrefix, overlaps, type Prefix } from "../ip/prefix.ts";
import type { Lease } from "./lease.ts";

export interface PeerSelection {
  readonly peers: readonly Lease[];
  readonly rejected: readonly RejectedPeer[];
}

/** A lease that could only do harm here. */
export interface RejectedPeer {
  readonly lease: Lease;
  readonly reason: string;
}

type Verdict = "own" | "peer" | { readonly lease: Lease; readonly reason: string };

/**
 * Picks the other hosts' leases. What the store holds comes from anybody: a lease that would cut off our own pods or the underlay
 * is left out. Each lease object is judged once, since the same thousands come again with every change.
 */
export function peerSelector(own: Lease, network: Prefix): (leases: Iterable<Lease>) => PeerSelection {
  const verdicts = new WeakMap<Lease, Verdict>();
  return (leases) => {
    const peers: Lease[] = [];
    const rejected: RejectedPeer[] = [];
    for (const lease of leases) {
      let verdict = verdicts.get(lease);
      if (verdict === undefined) {
        verdict = judge(lease, own, network);
        verdicts.set(lease, verdict);
      }
      if (verdict === "peer") peers.push(lease);
      else if (verdict !== "own") rejected.push(verdict);
    }
    return { peers, rejected };
  };
}

function judge(lease: Lease, own: Lease, network: Prefix): Verdict {
  if (equalPrefix(lease.subnet, own.subnet)) return "own";
  if (equalAddress(lease.attributes.publicIP, own.attributes.publicIP)) return "own";
  const reason = unusable(lease, own, network);
  return reason === undefined ? "peer" : { lease, reason };
}

function unusable({ subnet, attributes: { publicIP } }: Lease, own: Lease, network: Prefix): string | undefined {
  if (!containsPrefix(network, subnet)) return `its subnet is not in the Network ${formatPrefix(network)}`;
  if (overlaps(subnet, own.subnet)) return `its subnet overlaps our own ${formatPrefix(own.subnet)}`;
  if (!isHostAddress(publicIP)) return `its public IP ${formatAddress(publicIP)} is no host's address`;
  if (containsAddress(network, publicIP))
    return `its public IP ${formatAddress(publicIP)} lies in the Network ${formatPrefix(network)}`;
  return undefined;
}

function isHostAddress(address: Address): boolean {
  return !(isLoopback(address) || isMulticast(address) || isUnspecified(address) || isReserved(address));
}
