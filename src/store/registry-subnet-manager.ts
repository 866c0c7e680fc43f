import { compareAddress, equalAddress, formatAddress } from "../ip/address.ts";
import { equalPrefix, formatPrefix, overlaps, type Prefix } from "../ip/prefix.ts";
import { fitsConfig, formatRange } from "../lease/allocation.ts";
import { LeaseLostError, LeaseTakenError } from "../lease/errors.ts";
import { subnetsOf } from "../lease/halves.ts";
import type { Cursor, Lease, LeaseAttributes, LeaseUpdate, NetworkName } from "../lease/lease.ts";
import { formatLeaseKey } from "../lease/lease-codec.ts";
import { type NetworkConfig, parseNetworkConfig, type SubnetRange } from "../lease/network-config.ts";
import type { NetworkDirectory, NetworkUpdate } from "../lease/network-directory.ts";
import type { Administration, LeaseFormat, LeaseRequest, Reservation, SubnetManager } from "../lease/subnet-manager.ts";
import type { Abortable } from "../lib/abortable.ts";
import { InvalidConfigError } from "../lib/errors.ts";
import { LeaseTaking } from "./lease-taking.ts";
import { followLeases, type LeaseWatchingParts } from "./lease-watching.ts";
import { followNetworks } from "./network-watching.ts";
import type { LeaseClaim, LeaseListing, Registry, StoredConfig } from "./registry.ts";

/** How often a change by an administrator is tried again because a host renewed its lease at the same moment. */
const RACES = 10;

/** Leasing and administration over any key-value store: what a lease means is decided here, once for all stores. */
export class RegistrySubnetManager implements SubnetManager, Administration, NetworkDirectory {
  readonly #registry: Registry;
  readonly #parts: LeaseWatchingParts;

  /** What a lease was taken by, for the watch that follows: thousands of leases need not be read twice. */
  readonly #listed = new Map<NetworkName, LeaseListing>();

  /** The registry is disposed of together with the manager. */
  constructor(
    registry: Registry,
    {
      clock,
      logger,
      random = Math.random,
      health,
    }: Pick<LeaseWatchingParts, "clock" | "logger" | "health"> & Partial<Pick<LeaseWatchingParts, "random">>,
  ) {
    this.#registry = registry;
    this.#parts = { registry, clock, logger, random, health };
  }

  /** May still change until the config was read: an etcd without one is not yet v2 or v3. */
  get leaseFormat(): LeaseFormat {
    return this.#registry.leaseFormat;
  }

  async networkConfig(network: NetworkName, options: Abortable): Promise<NetworkConfig> {
    const { text } = await this.#registry.getConfig(network, options);
    return parseNetworkConfig(text);
  }

  async acquireLease(network: NetworkName, request: LeaseRequest, options: Abortable): Promise<Lease> {
    const { family } = request.config.network.address;
    if (request.publicIP.family !== family)
      throw new InvalidConfigError(
        family === 6 ? "EnableIPv4" : "PublicIP",
        `${formatAddress(request.publicIP)} is not of IPv${family}, which is the only family of the network`,
      );
    const { lease, listing } = await new LeaseTaking(this.#parts, network, request, options).run();
    this.#listed.set(network, listing);
    return lease;
  }

  async updateLease(
    network: NetworkName,
    lease: Lease,
    attributes: LeaseAttributes,
    options: Abortable,
  ): Promise<Lease> {
    let current = lease;
    for (let race = 1; ; race++) {
      const claim = { attributes, isReservation: current.isReservation };
      try {
        return await this.#registry.updateLease(network, current, claim, options);
      } catch (error) {
        if (!(error instanceof LeaseLostError) || race === RACES) throw error;
        // It may still be ours: an earlier renewal of which we never heard, or an administrator who made it a reservation.
        const found = await this.#find(network, lease.subnet, options);
        if (found === undefined || !equalAddress(found.attributes.publicIP, lease.attributes.publicIP)) throw error;
        current = found;
      }
    }
  }

  watchLeases(network: NetworkName, options: Abortable & { readonly since?: Cursor }): AsyncIterable<LeaseUpdate> {
    const listed = this.#listed.get(network);
    this.#listed.delete(network);
    return followLeases(this.#parts, network, { ...options, listed });
  }

  watchNetworks(options: Abortable): AsyncIterable<NetworkUpdate> {
    return followNetworks(this.#parts, options);
  }

  getConfig(network: NetworkName, options: Abortable): Promise<StoredConfig> {
    return this.#registry.getConfig(network, options);
  }

  async setConfig(
    network: NetworkName,
    text: string,
    options: Abortable & { readonly expected?: bigint },
  ): Promise<void> {
    parseNetworkConfig(text);
    await this.#registry.setConfig(network, text, options);
  }

  async listLeases(network: NetworkName, options: Abortable): Promise<readonly Lease[]> {
    const { leases } = await this.#registry.listLeases(network, { ...options, withExpirations: true });
    return leases.toSorted(compareSubnets);
  }

  async revokeLease(network: NetworkName, subnet: Prefix, options: Abortable): Promise<void> {
    await this.#change(network, options, (leases) => {
      const lease = leases.find((each) => equalPrefix(each.subnet, subnet));
      if (lease === undefined) throw new LeaseLostError(subnet, "there is none");
      return () => this.#registry.deleteLease(network, lease, options);
    });
  }

  async listReservations(network: NetworkName, options: Abortable): Promise<readonly Reservation[]> {
    const { leases } = await this.#registry.listLeases(network, options);
    return leases
      .filter((lease) => lease.isReservation)
      .toSorted(compareSubnets)
      .map(({ subnet, ipv6Subnet, attributes: { publicIP } }) => ({
        subnet,
        ...(ipv6Subnet !== undefined && { ipv6Subnet }),
        publicIP,
      }));
  }

  async addReservation(network: NetworkName, reservation: Reservation, options: Abortable): Promise<void> {
    const { publicIP, ...subnets } = reservation;
    const wanted = subnetsOf(subnets);
    checkReservation(reservation, await this.networkConfig(network, options));
    await this.#change(network, options, (leases) => {
      const [lease, another] = leases.filter((each) => meet(subnetsOf(each), wanted));
      if (lease === undefined) {
        const claim: LeaseClaim = { ...subnets, attributes: { publicIP }, isReservation: true };
        return () => this.#registry.createLease(network, claim, options);
      }
      if (!equalPrefix(lease.subnet, subnets.subnet) || !equalAddress(lease.attributes.publicIP, publicIP))
        throw new LeaseTakenError(lease.subnet);
      if (another !== undefined) throw new LeaseTakenError(another.subnet);
      const held = { ...lease, ...subnets };
      if (lease.isReservation && formatLeaseKey(held) === formatLeaseKey(lease)) return undefined;
      const change = { attributes: lease.attributes, isReservation: true, subnets: held };
      return () => this.#registry.updateLease(network, lease, change, options);
    });
  }

  async removeReservation(network: NetworkName, subnet: Prefix, options: Abortable): Promise<void> {
    await this.#change(network, options, (leases) => {
      const lease = leases.find((each) => equalPrefix(each.subnet, subnet));
      if (lease?.isReservation !== true) throw new LeaseLostError(subnet, "it is not reserved");
      return () => this.#registry.updateLease(network, lease, { ...lease, isReservation: false }, options);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#registry[Symbol.asyncDispose]();
  }

  /** From the listing, since in dual-stack networks the key is more than the subnet. */
  async #find(network: NetworkName, subnet: Prefix, options: Abortable): Promise<Lease | undefined> {
    const { leases } = await this.#registry.listLeases(network, options);
    return leases.find((lease) => equalPrefix(lease.subnet, subnet));
  }

  /** Decides by the present leases and writes; both again if a host wrote in between. What `decide` throws is final. */
  async #change(
    network: NetworkName,
    options: Abortable,
    decide: (leases: readonly Lease[]) => (() => Promise<unknown>) | undefined,
  ): Promise<void> {
    for (let race = 1; ; race++) {
      const write = decide((await this.#registry.listLeases(network, options)).leases);
      try {
        await write?.();
        return;
      } catch (error) {
        const isRace = error instanceof LeaseLostError || error instanceof LeaseTakenError;
        if (!isRace || race === RACES) throw error;
      }
    }
  }
}

/** @throws {InvalidConfigError} if the subnet could not be leased under this config, or the address is no host's */
function checkReservation({ subnet, ipv6Subnet, publicIP }: Reservation, config: NetworkConfig): void {
  const { family } = config.network.address;
  if (publicIP.family !== family)
    throw new InvalidConfigError("PublicIP", `must be an IPv${family} address, not ${formatAddress(publicIP)}`);
  checkSubnet("Subnet", subnet, config, family === 4 ? "SubnetLen" : "IPv6SubnetLen");
  if (ipv6Subnet === undefined) return;
  if (config.ipv6 === undefined)
    throw new InvalidConfigError("IPv6Subnet", `the network has no second family, for ${formatPrefix(ipv6Subnet)}`);
  checkSubnet("IPv6Subnet", ipv6Subnet, config.ipv6, "IPv6SubnetLen");
}

function checkSubnet(field: string, subnet: Prefix, range: SubnetRange, lengthField: string): void {
  if (subnet.length !== range.subnetLength)
    throw new InvalidConfigError(
      field,
      `${formatPrefix(subnet)} is not a /${range.subnetLength}, as ${lengthField} says`,
    );
  if (!fitsConfig(subnet, range))
    throw new InvalidConfigError(field, `${formatPrefix(subnet)} is none of the subnets from ${formatRange(range)}`);
}

function meet(some: readonly Prefix[], others: readonly Prefix[]): boolean {
  return some.some((each) => others.some((other) => overlaps(each, other)));
}

function compareSubnets(a: Lease, b: Lease): number {
  return compareAddress(a.subnet.address, b.subnet.address) || a.subnet.length - b.subnet.length;
}
