import { compareAddress, equalAddress, formatAddress } from "../ip/address.ts";
import { equalPrefix, formatPrefix, type Prefix } from "../ip/prefix.ts";
import { fitsConfig } from "../lease/allocation.ts";
import { LeaseLostError, LeaseTakenError, StoreUnavailableError } from "../lease/errors.ts";
import type { Cursor, Lease, LeaseAttributes, LeaseUpdate, NetworkName } from "../lease/lease.ts";
import { formatAttributes } from "../lease/lease-codec.ts";
import { type NetworkConfig, parseNetworkConfig } from "../lease/network-config.ts";
import type { NetworkDirectory, NetworkUpdate } from "../lease/network-directory.ts";
import { Outage } from "../lease/outage.ts";
import type { StoreHealth } from "../lease/store-health.ts";
import type { Administration, LeaseFormat, LeaseRequest, Reservation, SubnetManager } from "../lease/subnet-manager.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Clock } from "../lib/clock.ts";
import { UnsupportedError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import { readChanges, readJson, readLease, readNetworks, readReservations } from "./answers.ts";
import { formatSubnetSegment, formatSubnets, reservationJson } from "./api-json.ts";
import { formatGoTime } from "./go-json.ts";
import { HEADERS } from "./headers.ts";
import { readCursor, writeCursor } from "./history-names.ts";
import type { HttpAnswer, HttpRequest } from "./http-client.ts";
import { leasePath, networkPath, RemoteApi } from "./remote-api.ts";
import type { RemoteOptions } from "./remote-options.ts";
import { ToldLeases } from "./told-leases.ts";

interface Listing {
  readonly leases: readonly Lease[];
  readonly cursor: Cursor;
}

/** Leases by way of flannel servers, `--remote`: ours, or 0.7.0's. This host needs no way to the store, and none of its passwords. */
export class RemoteSubnetManager implements SubnetManager, Administration, NetworkDirectory {
  readonly name: string;
  readonly #api: RemoteApi;
  readonly #parts: {
    readonly clock: Clock;
    readonly logger: Logger;
    readonly random: () => number;
    readonly health: StoreHealth | undefined;
  };
  readonly #told: ToldLeases;
  /** What a lease was taken by, for the watch that follows: thousands of leases need not be read twice. */
  readonly #listed = new Map<NetworkName, Listing>();

  constructor(
    options: RemoteOptions,
    {
      clock,
      logger,
      random = Math.random,
      health,
    }: {
      readonly clock: Clock;
      readonly logger: Logger;
      readonly random?: () => number;
      /** Told when no server answers. */
      readonly health?: StoreHealth | undefined;
    },
  ) {
    this.#api = new RemoteApi(options, { clock, logger });
    this.name = this.#api.name;
    this.#parts = { clock, logger, random, health };
    this.#told = new ToldLeases(clock, logger);
  }

  /** That of the store behind the server, once it has told. */
  get leaseFormat(): LeaseFormat {
    return this.#api.leaseFormat;
  }

  async networkConfig(network: NetworkName, options: Abortable): Promise<NetworkConfig> {
    const answer = await this.#api.ask({ method: "GET", path: networkPath(network, "config") }, options);
    readJson(answer);
    return parseNetworkConfig(answer.body);
  }

  async acquireLease(network: NetworkName, request: LeaseRequest, options: Abortable): Promise<Lease> {
    const listing = await this.#list(network, options);
    const own = listing.leases.filter((lease) => equalAddress(lease.attributes.publicIP, request.publicIP));
    const existing = choose(own, request);
    if (existing !== undefined) await request.claim?.(existing, options);
    const attributes = request.attributes(existing);
    const previous = request.previous.map(formatPrefix).join(",");
    const answer = await this.#api.ask(
      {
        method: "POST",
        path: networkPath(network, "leases"),
        headers: previous === "" ? {} : { [HEADERS.previous]: previous },
        body: formatAttributes(attributes, this.#api.leaseFormat),
      },
      options,
    );
    const lease = this.#written(network, answer, listing.cursor.index + 1n);
    const isLetGo = (each: Lease) =>
      own.includes(each) && !each.isReservation && !fitsConfig(each.subnet, request.config);
    const others = listing.leases.filter((each) => !equalPrefix(each.subnet, lease.subnet) && !isLetGo(each));
    // The store's very next change: then nothing is between the listing and the lease that is in it.
    const isNext = this.#api.isExtended && lease.revision === listing.cursor.index + 1n;
    const cursor = isNext ? { ...listing.cursor, index: lease.revision } : listing.cursor;
    this.#listed.set(network, { leases: [...others, lease], cursor });
    return lease;
  }

  async updateLease(
    network: NetworkName,
    lease: Lease,
    attributes: LeaseAttributes,
    options: Abortable,
  ): Promise<Lease> {
    if (!this.#api.isExtended) await this.#requireOurs(network, lease, options);
    const body = `{${formatSubnets(lease)},"Attrs":${formatAttributes(attributes, this.#api.leaseFormat)},"Expiration":"${formatGoTime(lease.isReservation ? undefined : lease.expiration)}"}`;
    const headers = this.#api.isExtended ? { "If-Match": `"${lease.revision}"` } : {};
    const request: HttpRequest = { method: "PUT", path: leasePath(network, lease.subnet), headers, body };
    try {
      return this.#written(network, await this.#api.ask(request, options, lease.subnet), this.#told.lastIndex + 1n);
    } catch (error) {
      if (error instanceof LeaseTakenError)
        throw new LeaseLostError(lease.subnet, "another host holds it now", { cause: error });
      throw error;
    }
  }

  async *watchLeases(
    network: NetworkName,
    options: Abortable & { readonly since?: Cursor },
  ): AsyncIterable<LeaseUpdate> {
    const signal = this.#api.untilClosed(options);
    using outage = new Outage({ ...this.#parts, store: () => this.name });
    let cursor = options.since;
    let listed = cursor === undefined ? this.#listed.get(network) : undefined;
    this.#listed.delete(network);
    let isAway = false;
    for (;;) {
      signal.throwIfAborted();
      try {
        // A watch may be silent for long: that a server is back shall not be known only when something happens.
        if (isAway) await this.#api.reach(network, { signal });
        if (isAway) outage.over();
        isAway = false;
        if (listed !== undefined) {
          cursor = listed.cursor;
          yield { type: "snapshot", ...listed };
          listed = undefined;
        }
        const update = await this.#next(network, cursor, { signal });
        outage.over();
        cursor = update.cursor;
        if (update.type === "snapshot" || update.events.length > 0) yield update;
      } catch (error) {
        signal.throwIfAborted();
        isAway = true;
        await outage.wait(error, { signal });
      }
    }
  }

  async *watchNetworks(options: Abortable): AsyncIterable<NetworkUpdate> {
    const signal = this.#api.untilClosed(options);
    using outage = new Outage({ ...this.#parts, store: () => this.name });
    let next: string | undefined;
    for (;;) {
      signal.throwIfAborted();
      try {
        const request = next === undefined ? {} : this.#api.waiting();
        const query = next === undefined ? "" : `?next=${next}`;
        const answer = await this.#api.ask({ method: "GET", path: `/v1/${query}`, ...request }, { signal });
        outage.over();
        const { update, cursor } = readNetworks(answer);
        next = cursor;
        if (update.type === "snapshot" || update.events.length > 0) yield update;
      } catch (error) {
        signal.throwIfAborted();
        await outage.wait(error, { signal });
      }
    }
  }

  /** What the server makes of the stored config. */
  async getConfig(
    network: NetworkName,
    options: Abortable,
  ): Promise<{ readonly text: string; readonly revision: bigint }> {
    const { body } = await this.#api.ask({ method: "GET", path: networkPath(network, "config") }, options);
    return { text: body.trimEnd(), revision: 0n };
  }

  setConfig(): Promise<void> {
    return Promise.reject(
      new UnsupportedError(
        "setConfig",
        "a flannel server takes no config",
        "write it to the store that the server uses",
      ),
    );
  }

  async listLeases(network: NetworkName, options: Abortable): Promise<readonly Lease[]> {
    const { leases } = await this.#list(network, options);
    return leases.toSorted((a, b) => compareAddress(a.subnet.address, b.subnet.address));
  }

  async revokeLease(network: NetworkName, subnet: Prefix, options: Abortable): Promise<void> {
    await this.#api.ask({ method: "DELETE", path: leasePath(network, subnet) }, options, subnet);
  }

  async listReservations(network: NetworkName, options: Abortable): Promise<readonly Reservation[]> {
    return readReservations(
      await this.#api.ask({ method: "GET", path: networkPath(network, "reservations") }, options),
    );
  }

  async addReservation(network: NetworkName, reservation: Reservation, options: Abortable): Promise<void> {
    const body = JSON.stringify(reservationJson(reservation));
    await this.#api.ask(
      { method: "POST", path: networkPath(network, "reservations"), body },
      options,
      reservation.subnet,
    );
  }

  async removeReservation(network: NetworkName, subnet: Prefix, options: Abortable): Promise<void> {
    const where = `${networkPath(network, "reservations")}/${formatSubnetSegment(subnet)}`;
    await this.#api.ask({ method: "DELETE", path: where }, options, subnet);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#api[Symbol.dispose]();
  }

  async #list(network: NetworkName, options: Abortable): Promise<Listing> {
    const update = await this.#next(network, undefined, options);
    if (update.type === "snapshot") return update;
    throw new StoreUnavailableError(this.name, "answered with changes instead of all leases");
  }

  async #next(network: NetworkName, since: Cursor | undefined, options: Abortable): Promise<LeaseUpdate> {
    const next = since && writeCursor(since, this.#api.isExtended);
    const query = next === undefined ? "" : `?next=${next}`;
    const waiting = next === undefined ? {} : this.#api.waiting();
    const answer = await this.#api.ask(
      { method: "GET", path: `${networkPath(network, "leases")}${query}`, ...waiting },
      options,
    );
    const changes = readChanges(answer);
    return this.#told.read(network, changes, readCursor(changes.cursor, this.#api.store), answer);
  }

  /** @throws {LeaseLostError} A server of 0.7.0 would give us a lease that is another's by now. */
  async #requireOurs(network: NetworkName, lease: Lease, options: Abortable): Promise<void> {
    const answer = await this.#api.ask(
      { method: "GET", path: leasePath(network, lease.subnet) },
      options,
      lease.subnet,
    );
    const [found] = readChanges(answer).snapshot ?? [];
    if (found === undefined) throw new LeaseLostError(lease.subnet, "it is gone");
    const { publicIP } = found.attributes;
    if (!equalAddress(publicIP, lease.attributes.publicIP))
      throw new LeaseLostError(lease.subnet, `${formatAddress(publicIP)} holds it now`);
  }

  #written(network: NetworkName, answer: HttpAnswer, least: bigint): Lease {
    const revision = /^"(\d{1,19})"$/.exec(String(answer.headers["etag"]))?.[1];
    const told = readLease(readJson(answer));
    return this.#told.written(
      network,
      revision === undefined ? told : { ...told, revision: BigInt(revision) },
      least,
      answer,
    );
  }
}

/** Which of our leases the server will keep. */
function choose(own: readonly Lease[], { config, previous }: LeaseRequest): Lease | undefined {
  const fitting = own.filter((lease) => fitsConfig(lease.subnet, config));
  return (
    fitting.find((lease) => lease.isReservation) ??
    previous.flatMap((subnet) => fitting.filter((lease) => equalPrefix(lease.subnet, subnet)))[0] ??
    fitting[0] ??
    own[0]
  );
}
