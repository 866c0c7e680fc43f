import type { Prefix } from "../ip/prefix.ts";
import type { Cursor, Lease, LeaseAttributes, LeaseEvent, NetworkName } from "../lease/lease.ts";
import type { LeaseSubnets } from "../lease/lease-codec.ts";
import type { LeaseFormat } from "../lease/subnet-manager.ts";
import type { Abortable } from "../lib/abortable.ts";

/**
 * The little that a key-value store must be able to do so that leases can be kept in it. What a lease means, who may take which
 * subnet and when to try again is not decided here but once for all stores, in registry-subnet-manager.ts.
 *
 * Every call may throw {StoreUnavailableError} (worth trying again) or {StoreRefusedError} (not without a change).
 * Entries that make no sense are logged once with key and reason, and left out.
 */
export interface Registry extends AsyncDisposable {
  /** For messages: `etcd v2 at http://127.0.0.1:2379`. */
  readonly name: string;
  readonly leaseFormat: LeaseFormat;

  /** @throws {ConfigNotFoundError} */
  getConfig(network: NetworkName, options: Abortable): Promise<StoredConfig>;
  /** With `expected` only if the stored revision is that one, 0n meaning none. @throws {ConfigConflictError} if it is not */
  setConfig(network: NetworkName, text: string, options: Abortable & { readonly expected?: bigint }): Promise<void>;

  /** The names of all networks that have a config, but for the one without a name; in order. */
  listNetworks(options: Abortable): Promise<NetworkListing>;

  /** All leases; an empty listing if there is no such network. `withExpirations` asks for each lease's end even where that costs a call each. */
  listLeases(network: NetworkName, options: Abortable & { readonly withExpirations?: boolean }): Promise<LeaseListing>;
  /** The lease on this subnet, whatever IPv6 subnet it has besides, with its expiration; or undefined. */
  getLease(network: NetworkName, subnet: Prefix, options: Abortable): Promise<Lease | undefined>;
  /** With a TTL of LEASE_TTL, or none for a reservation. @throws {LeaseTakenError} if there is a lease on the subnet */
  createLease(network: NetworkName, claim: LeaseClaim, options: Abortable): Promise<Lease>;
  /**
   * Replaces the lease if its revision is still `lease.revision`. Another IPv6 subnet, or none any more, makes another key of it: then
   * watches tell of a removal first. @throws {LeaseLostError} if it changed meanwhile
   */
  updateLease(network: NetworkName, lease: Lease, change: LeaseChange, options: Abortable): Promise<Lease>;
  /** Deletes the lease if its revision is still `lease.revision`. @throws {LeaseLostError} if not */
  deleteLease(network: NetworkName, lease: Lease, options: Abortable): Promise<void>;
  /**
   * Changes after `since`, in batches as they come, for ever. Yields also an empty batch once connected, so that the caller knows.
   * @throws {HistoryLostError} at once if the store's history does not reach back to `since`, or is not the one `since` came from
   * (another history id, an index lower than `since`); {StoreUnavailableError} when the connection is lost or has gone silent (noticed within 15 s)
   */
  watchLeases(network: NetworkName, since: Cursor, options: Abortable): AsyncIterable<LeaseEvents>;
}

export interface StoredConfig {
  readonly text: string;
  readonly revision: bigint;
}

export interface NetworkListing {
  readonly networks: readonly NetworkName[];
  readonly cursor: Cursor;
}

export interface LeaseListing {
  readonly leases: readonly Lease[];
  readonly cursor: Cursor;
}

export interface LeaseClaim extends LeaseSubnets {
  readonly attributes: LeaseAttributes;
  readonly isReservation: boolean;
}

export interface LeaseChange {
  readonly attributes: LeaseAttributes;
  readonly isReservation: boolean;
  /** What the lease holds from now on, if that changes: the same subnet, and another IPv6 subnet or none. */
  readonly subnets?: LeaseSubnets | undefined;
}

export interface LeaseEvents {
  readonly events: readonly LeaseEvent[];
  readonly cursor: Cursor;
}

/** The config changed since it was read. */
export class ConfigConflictError extends Error {
  override readonly name = "ConfigConflictError";
  readonly code = "config-conflict";
}
