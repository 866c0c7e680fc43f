import { type Address, equalAddress } from "../ip/address.ts";
import { equalPrefix, formatPrefix, overlaps, type Prefix } from "../ip/prefix.ts";
import { CANDIDATES, fitsConfig, formatRange, freeSubnets, isFree } from "../lease/allocation.ts";
import {
  LeaseLostError,
  LeaseTakenError,
  OutOfSubnetsError,
  StoreRefusedError,
  StoreUnavailableError,
} from "../lease/errors.ts";
import { subnetsOf } from "../lease/halves.ts";
import type { Lease, NetworkName } from "../lease/lease.ts";
import type { LeaseSubnets } from "../lease/lease-codec.ts";
import type { SubnetRange } from "../lease/network-config.ts";
import type { LeaseRequest } from "../lease/subnet-manager.ts";
import type { Abortable } from "../lib/abortable.ts";
import { backoff } from "../lib/backoff.ts";
import type { Clock } from "../lib/clock.ts";
import { describeError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import type { LeaseListing, Registry } from "./registry.ts";

export interface LeaseTakingParts {
  readonly registry: Registry;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random: () => number;
}

/** Races with others are repeated at once this often; then there is someone to wait for. */
const QUICK_ROUNDS = 5;
const BETWEEN_ROUNDS = { first: 50, most: 2_000 };
/** A write that got no answer may have been done: look and go on, but not for ever. */
const UNANSWERED_WRITES = 3;

export interface TakenLease {
  readonly lease: Lease;
  /** All leases when it was taken, it among them. */
  readonly listing: LeaseListing;
}

/** One attempt of a host to have a lease, from first listing to last. */
export class LeaseTaking {
  readonly #parts: LeaseTakingParts;
  readonly #network: NetworkName;
  readonly #request: LeaseRequest;
  readonly #options: Abortable;
  #unanswered = 0;
  /** Of IPv6, that others turned out to have had before us. */
  readonly #refused: Prefix[] = [];

  constructor(parts: LeaseTakingParts, network: NetworkName, request: LeaseRequest, options: Abortable) {
    this.#parts = parts;
    this.#network = network;
    this.#request = request;
    this.#options = options;
  }

  /** As SubnetManager.acquireLease(), with the listing that the lease was taken by. */
  async run(): Promise<TakenLease> {
    for (let round = 1; ; round++) {
      if (round > QUICK_ROUNDS) await this.#pause(round - QUICK_ROUNDS);
      const listing = await this.#list();
      const own = listing.leases.filter((lease) => this.#isOurs(lease));
      const kept = this.#choose(own);
      const existing = kept ?? own[0];
      if (existing !== undefined) await this.#request.claim?.(existing, this.#options);
      const taken = kept === undefined ? await this.#take(listing, own) : await this.#renew(kept, listing);
      if (taken === undefined) continue;
      const { leases, cursor } = taken.listing;
      const misfits = await this.#dropMisfits(own);
      const isMisfit = ({ subnet }: Lease) => misfits.some((misfit) => equalPrefix(misfit.subnet, subnet));
      return { ...taken, listing: { leases: leases.filter((lease) => !isMisfit(lease)), cursor } };
    }
  }

  #list(): Promise<LeaseListing> {
    return this.#parts.registry.listLeases(this.#network, this.#options);
  }

  /** Which of our leases to keep: a reservation before one we had last before the first. */
  #choose(own: readonly Lease[]): Lease | undefined {
    const { config, previous } = this.#request;
    const fitting = own.filter((lease) => fitsConfig(lease.subnet, config));
    return (
      fitting.find((lease) => lease.isReservation) ??
      previous.flatMap((subnet) => fitting.filter((lease) => equalPrefix(lease.subnet, subnet)))[0] ??
      fitting[0]
    );
  }

  async #renew(found: Lease, { leases, cursor }: LeaseListing): Promise<TakenLease | undefined> {
    const attributes = this.#request.attributes(found);
    const subnets = this.#withIPv6(found.subnet, found.ipv6Subnet, leases);
    const change = { attributes, isReservation: found.isReservation, subnets };
    const lease = await this.#attempt(() =>
      this.#parts.registry.updateLease(this.#network, found, change, this.#options),
    );
    if (lease === undefined) return undefined;
    const listing = { leases: leases.map((each) => (each === found ? lease : each)), cursor };
    if (lease.ipv6Subnet === undefined || isSame(lease.ipv6Subnet, found.ipv6Subnet)) return { lease, listing };
    const listed = await this.#list(); // nothing but looking afterwards keeps two from the same IPv6 subnet
    if (this.#isFirst(lease, listed)) return { lease, listing: listed };
    this.#refused.push(lease.ipv6Subnet);
    return undefined;
  }

  /** A new lease, or `undefined` if others were quicker everywhere. @throws {OutOfSubnetsError} */
  async #take(listing: LeaseListing, own: readonly Lease[]): Promise<TakenLease | undefined> {
    const { leases } = listing;
    const misfits = own.filter((lease) => !lease.isReservation);
    const attributes = this.#request.attributes(own[0]);
    let candidates = this.#candidates(leases);
    if (candidates.length === 0) {
      // Only our own former lease is in the way, then; a new one elsewhere would have been made first.
      candidates = this.#candidates(leases.filter((lease) => !misfits.includes(lease)));
      if (candidates.length > 0) await this.#drop(misfits);
    }
    if (candidates.length === 0)
      throw new OutOfSubnetsError(
        `out of subnets: all from ${formatRange(this.#request.config)} are taken by ${leases.length} leases`,
      );
    for (const subnet of candidates) {
      const subnets = this.#withIPv6(subnet, undefined, leases);
      const claim = { ...subnets, attributes, isReservation: false };
      const unanswered = this.#unanswered;
      const lease = await this.#attempt(() => this.#parts.registry.createLease(this.#network, claim, this.#options));
      if (lease !== undefined) return await this.#confirm(lease, listing);
      if (unanswered !== this.#unanswered) return undefined;
    }
    return undefined;
  }

  #candidates(leases: readonly Lease[]): readonly Prefix[] {
    return this.#freeIn(this.#request.config, leases.flatMap(subnetsOf));
  }

  /** Former subnets in their order, then the first free ones in a random one. */
  #freeIn(range: SubnetRange, taken: readonly Prefix[]): readonly Prefix[] {
    const { previous } = this.#request;
    const former = previous.filter((subnet) => fitsConfig(subnet, range) && isFree(subnet, taken));
    const free = freeSubnets(range, [...taken, ...former], CANDIDATES);
    return [...former, ...this.#shuffled(free)];
  }

  /**
   * What the lease on `subnet` is to hold: an IPv6 subnet too, if the network has both families and so has the host.
   * @param held what it holds already, which it keeps if it may
   * @throws {OutOfSubnetsError}
   */
  #withIPv6(subnet: Prefix, held: Prefix | undefined, leases: readonly Lease[]): LeaseSubnets {
    const { publicIPv6, config } = this.#request;
    const range = config.ipv6;
    if (range === undefined || publicIPv6 === undefined) return { subnet };
    const isRefused = held !== undefined && !isFree(held, this.#refused);
    if (held !== undefined && fitsConfig(held, range) && !isRefused) return { subnet, ipv6Subnet: held };
    const others = leases.filter((lease) => !this.#isOurs(lease)).flatMap(subnetsOf);
    const [ipv6Subnet] = this.#freeIn(range, [...others, ...this.#refused]);
    if (ipv6Subnet !== undefined) return { subnet, ipv6Subnet };
    throw new OutOfSubnetsError(
      `out of IPv6 subnets: all from ${formatRange(range)} are taken by ${leases.length} leases`,
    );
  }

  #shuffled(subnets: readonly Prefix[]): readonly Prefix[] {
    return subnets
      .map((subnet) => ({ subnet, place: this.#parts.random() }))
      .toSorted((a, b) => a.place - b.place)
      .map(({ subnet }) => subnet);
  }

  /** What `write` gives, or `undefined` if it lost a race or had no answer. */
  async #attempt(write: () => Promise<Lease>): Promise<Lease | undefined> {
    try {
      return await write();
    } catch (error) {
      if (error instanceof LeaseTakenError || error instanceof LeaseLostError) {
        this.#parts.logger.debug("another host was quicker", { subnet: formatPrefix(error.subnet) });
        return undefined;
      }
      if (!(error instanceof StoreUnavailableError) || ++this.#unanswered >= UNANSWERED_WRITES) throw error;
      this.#parts.logger.debug("a write to the store was not answered", { reason: describeError(error) });
      return undefined;
    }
  }

  /**
   * A key that differs in length or names an IPv6 subnet too does not stop ours from being made, though both mean the same
   * addresses: who was first stays.
   */
  async #confirm(lease: Lease, { leases, cursor }: LeaseListing): Promise<TakenLease | undefined> {
    // The very next change of the store: nobody was first, and thousands of leases need not be listed again.
    if (lease.revision === cursor.index + 1n)
      return { lease, listing: { leases: [...leases, lease], cursor: { ...cursor, index: lease.revision } } };
    const listing = await this.#list();
    if (this.#isFirst(lease, listing)) return { lease, listing };
    await this.#drop([lease]);
    return undefined;
  }

  /** Whether nobody else had any of it before. */
  #isFirst(lease: Lease, { leases }: LeaseListing): boolean {
    const mine = subnetsOf(lease);
    return !leases.some(
      (each) =>
        each.revision < lease.revision &&
        !this.#isOurs(each) &&
        subnetsOf(each).some((theirs) => mine.some((subnet) => overlaps(theirs, subnet))),
    );
  }

  async #dropMisfits(own: readonly Lease[]): Promise<readonly Lease[]> {
    const misfits = own.filter((lease) => !lease.isReservation && !fitsConfig(lease.subnet, this.#request.config));
    try {
      await this.#drop(misfits);
    } catch (error) {
      if (!(error instanceof StoreUnavailableError || error instanceof StoreRefusedError)) throw error;
      this.#parts.logger.warn("a former lease could not be removed; it will expire", { reason: describeError(error) });
    }
    return misfits;
  }

  async #drop(leases: readonly Lease[]): Promise<void> {
    for (const lease of leases)
      try {
        await this.#parts.registry.deleteLease(this.#network, lease, this.#options);
        this.#parts.logger.info("removed our former lease", { subnet: formatPrefix(lease.subnet) });
      } catch (error) {
        if (!(error instanceof LeaseLostError)) throw error; // gone, or wanted by someone after all
      }
  }

  #isOurs(lease: Lease): boolean {
    const { publicIP, publicIPv6 } = this.#request;
    const { attributes } = lease;
    const isMine = (address: Address) => [publicIP, publicIPv6].some((mine) => mine && equalAddress(mine, address));
    // By the other family's address too: a network's families may have changed.
    return isMine(attributes.publicIP) || (attributes.publicIPv6 !== undefined && isMine(attributes.publicIPv6));
  }

  #pause(round: number): Promise<void> {
    const { clock, random } = this.#parts;
    return clock.sleep(backoff(round, BETWEEN_ROUNDS, random), this.#options);
  }
}

function isSame(a: Prefix, b: Prefix | undefined): boolean {
  return b !== undefined && equalPrefix(a, b);
}
