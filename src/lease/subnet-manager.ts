import type { Address } from "../ip/address.ts";
import type { Prefix } from "../ip/prefix.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Cursor, Lease, LeaseAttributes, LeaseUpdate, NetworkName } from "./lease.ts";
import type { NetworkConfig } from "./network-config.ts";

/**
 * Which flannels read the leases of this store, and so what a backend writes into `BackendData`:
 * `0.7` (etcd v2, embedded, a flannel server) or `later` (etcd v3, Kubernetes).
 */
export type LeaseFormat = "0.7" | "later";

/** What a host asks for. */
export interface LeaseRequest {
  /** The host's identity: its own lease is the one with this address. Of the network's first family. */
  readonly publicIP: Address;
  /** That of a host which is to have an IPv6 subnet besides, in a network of both families. */
  readonly publicIPv6?: Address | undefined;
  readonly config: NetworkConfig;
  /** What to write, given the own lease that is already there, if any. */
  attributes(existing: Lease | undefined): LeaseAttributes;
  /** Asked before a lease that is there already is taken for our own. @throws if it is another host's, which keeps it then */
  claim?(existing: Lease, options: Abortable): Promise<void>;
  /** Subnets held before, of either family, best first: taken again if free and still allowed by the config. */
  readonly previous: readonly Prefix[];
}

/** What the daemon needs from a store. Abilities only some stores have are ports of their own. */
export interface SubnetManager extends AsyncDisposable {
  readonly leaseFormat: LeaseFormat;
  /**
   * The network's config, parsed and with defaults.
   * @throws {ConfigNotFoundError} if there is none, {InvalidConfigError} naming the field, {StoreUnavailableError}, {StoreRefusedError}
   */
  networkConfig(network: NetworkName, options: Abortable): Promise<NetworkConfig>;
  /**
   * The own lease, by public IP, if it fits the config; else a previous subnet if free; else one at random among the first 100 free.
   * Loses no race: a subnet that another took meanwhile is left to it.
   * @throws {OutOfSubnetsError} naming the range, {StoreUnavailableError}, {StoreRefusedError}
   */
  acquireLease(network: NetworkName, request: LeaseRequest, options: Abortable): Promise<Lease>;
  /**
   * Compare-and-set on `lease.revision`: renews, and changes the attributes if asked, never the subnet; a reservation stays one.
   * @throws {LeaseLostError} if another wrote it or it is gone, {StoreUnavailableError}, {StoreRefusedError}
   */
  updateLease(network: NetworkName, lease: Lease, attributes: LeaseAttributes, options: Abortable): Promise<Lease>;
  /**
   * Starts with a snapshot unless `since` is still in history. Never ends by itself; transient store errors are retried inside
   * and logged once per outage. Our own lease is among the leases.
   */
  watchLeases(network: NetworkName, options: Abortable & { readonly since?: Cursor }): AsyncIterable<LeaseUpdate>;
}

/** A subnet kept for a host, whether that host runs or not. */
export interface Reservation {
  readonly subnet: Prefix;
  readonly ipv6Subnet?: Prefix;
  readonly publicIP: Address;
}

/** What `flannel config|lease|reservation` needs; stores that cannot do it leave it out. */
export interface Administration {
  /** The stored text as it is. @throws {ConfigNotFoundError} */
  getConfig(network: NetworkName, options: Abortable): Promise<{ readonly text: string; readonly revision: bigint }>;
  /** Stores `text`, which must be valid. With `expected`, only if the stored revision is still that one (0n: only if there is none). */
  setConfig(network: NetworkName, text: string, options: Abortable & { readonly expected?: bigint }): Promise<void>;
  /** Every lease with its expiration, ordered by subnet. */
  listLeases(network: NetworkName, options: Abortable): Promise<readonly Lease[]>;
  /** @throws {LeaseLostError} if there is no lease on that subnet */
  revokeLease(network: NetworkName, subnet: Prefix, options: Abortable): Promise<void>;
  listReservations(network: NetworkName, options: Abortable): Promise<readonly Reservation[]>;
  /** Also makes a reservation of a lease that the same public IP holds. @throws {LeaseTakenError} if another holds it, {InvalidConfigError} if it does not fit the config */
  addReservation(network: NetworkName, reservation: Reservation, options: Abortable): Promise<void>;
  /** The reservation becomes a lease that ends in 24 hours. @throws {LeaseLostError} if there is none */
  removeReservation(network: NetworkName, subnet: Prefix, options: Abortable): Promise<void>;
}
