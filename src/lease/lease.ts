import type { Address } from "../ip/address.ts";
import { formatPrefix, type Prefix } from "../ip/prefix.ts";
import type { Instant, Milliseconds } from "../lib/clock.ts";

/** A network's name; the empty one is the unnamed network of single-network mode. */
export type NetworkName = string;

/** JSON as a store holds it. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** Counts the changes of a store; a lease's revision is that of its last change. etcd: modifiedIndex, mod_revision. */
export type Revision = bigint;

/** What a lease says of its host. */
export interface LeaseAttributes {
  /** Where other hosts send packets for the subnet; of the subnet's family. */
  readonly publicIP: Address;
  /** The same for the IPv6 subnet of a lease that has one besides. */
  readonly publicIPv6?: Address;
  /** Absent in leases of udp and alloc hosts. */
  readonly backendType?: string;
  /** Whatever the backend's other end needs; vxlan's MAC. Comes from others: hostile until parsed. */
  readonly backendData?: Json;
  /** The same for the IPv6 subnet. */
  readonly backendV6Data?: Json;
  /** Whose certificate made the lease, where a flannel server minds that; only the server and the store know. */
  readonly owner?: string;
}

/** A host's claim on a subnet, in a network of both families on one of each. */
export interface Lease {
  /** Of IPv4; of IPv6 where the network has no other family. */
  readonly subnet: Prefix;
  /** Only besides an IPv4 subnet. */
  readonly ipv6Subnet?: Prefix;
  readonly attributes: LeaseAttributes;
  /** Absent in a reservation, which never expires, and where the store did not tell (etcd v3 tells only of single leases). */
  readonly expiresAt?: Instant;
  /** The same by the wall clock, for display only. */
  readonly expiration?: Date;
  /** A lease without an end: made by an administrator, kept as one. */
  readonly isReservation: boolean;
  readonly revision: Revision;
}

/** How long a lease lasts from its last renewal: 24 hours, as in every flannel. */
export const LEASE_TTL: Milliseconds = 24 * 60 * 60 * 1000;

/**
 * A place in a store's history.
 * `history` names the history itself (etcd's cluster id, an embedded file's id): a store that was made anew has another.
 * `index` is the number of its last change known here.
 */
export interface Cursor {
  readonly history: string;
  readonly index: bigint;
}

/** Whether `later` continues the history of `earlier`: what is missing in a listing at `later` was really removed. */
export function continuesHistory(earlier: Cursor, later: Cursor): boolean {
  return earlier.history === later.history && later.index >= earlier.index;
}

/** What makes two leases claims on the same subnet. */
export function leaseKey(lease: { readonly subnet: Prefix }): string {
  return formatPrefix(lease.subnet);
}

export type LeaseEvent =
  | { readonly type: "added"; readonly lease: Lease }
  | { readonly type: "removed"; readonly subnet: Prefix };

/** A snapshot replaces everything known; events change it. */
export type LeaseUpdate =
  | { readonly type: "snapshot"; readonly leases: readonly Lease[]; readonly cursor: Cursor }
  | { readonly type: "events"; readonly events: readonly LeaseEvent[]; readonly cursor: Cursor };

/**
 * How long until the lease must be renewed; 0 if that is overdue, Infinity for a reservation.
 * @param margin how long before the end to renew, `--subnet-lease-renew-margin`
 */
export function untilRenewal(lease: Lease, now: Instant, margin: Milliseconds): Milliseconds {
  if (lease.isReservation || lease.expiresAt === undefined) return Number.POSITIVE_INFINITY;
  return Math.max(0, lease.expiresAt - now - margin);
}
