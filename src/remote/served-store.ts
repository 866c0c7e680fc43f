import type { Prefix } from "../ip/prefix.ts";
import type { Cursor, Lease, LeaseAttributes, NetworkName } from "../lease/lease.ts";
import type { Administration, SubnetManager } from "../lease/subnet-manager.ts";
import type { Abortable } from "../lib/abortable.ts";

export interface LeaseListing {
  readonly leases: readonly Lease[];
  readonly cursor: Cursor;
}

export interface LeaseClaim {
  readonly subnet: Prefix;
  readonly attributes: LeaseAttributes;
  readonly isReservation: boolean;
}

/** Single leases, each write under a condition. Errors are those of the SubnetManager port. */
export interface LeaseBook {
  listLeases(network: NetworkName, options: Abortable): Promise<LeaseListing>;
  getLease(network: NetworkName, subnet: Prefix, options: Abortable): Promise<Lease | undefined>;
  /** @throws {LeaseTakenError} if there is one */
  createLease(network: NetworkName, claim: LeaseClaim, options: Abortable): Promise<Lease>;
  /** @throws {LeaseLostError} unless its revision is still `lease.revision` */
  updateLease(
    network: NetworkName,
    lease: Lease,
    claim: Omit<LeaseClaim, "subnet">,
    options: Abortable,
  ): Promise<Lease>;
  /** @throws {LeaseLostError} unless its revision is still `lease.revision` */
  deleteLease(network: NetworkName, lease: Lease, options: Abortable): Promise<void>;
}

export interface NetworkListing {
  readonly networks: readonly NetworkName[];
  readonly cursor: Cursor;
}

export interface NetworkBook {
  /** Those with a config and a name. */
  listNetworks(options: Abortable): Promise<NetworkListing>;
}

/** What a server serves. */
export interface ServedStore {
  readonly manager: SubnetManager;
  readonly book: LeaseBook;
  /** Absent where there is one network only: Kubernetes. */
  readonly networks?: NetworkBook;
  /** Absent where the store has none: Kubernetes. */
  readonly administration?: Administration;
}
