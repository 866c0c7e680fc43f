import { equalAddress, formatAddress } from "../ip/address.ts";
import { containsPrefix, formatPrefix, type Prefix } from "../ip/prefix.ts";
import { fitsConfig, isFree } from "../lease/allocation.ts";
import { ConfigNotFoundError, LeaseLostError, LeaseTakenError, OutOfSubnetsError } from "../lease/errors.ts";
import type { Lease, LeaseAttributes, NetworkName } from "../lease/lease.ts";
import type { Administration } from "../lease/subnet-manager.ts";
import type { Clock } from "../lib/clock.ts";
import { describeError, InvalidConfigError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import {
  formatConfig,
  formatLease,
  formatLeaseAnswer,
  formatReservations,
  formatSnapshot,
  formatSubnetSegment,
} from "./api-json.ts";
import type { Authorization } from "./authorization.ts";
import { CursorSyntaxError, parseCursor } from "./cursor-text.ts";
import type { LeaseHub, PollAnswer } from "./lease-hub.ts";
import { remembered } from "./remembered.ts";
import { errorReply, type Parked, type Reply, reply } from "./reply.ts";
import {
  type ApiRequest,
  attributesIn,
  claimIn,
  cursorOf,
  dialectOf,
  expectedRevision,
  leaseIn,
  networkOf,
  patienceOf,
  previousSubnets,
  reservationIn,
  subnetOf,
} from "./request.ts";
import { RequestError } from "./request-error.ts";
import type { ServedStore } from "./served-store.ts";

/** How often a client's write is tried again because somebody wrote at the same moment. */
const RACES = 10;

export interface LeaseApiParts {
  readonly store: ServedStore;
  /** The hub of a network that exists. */
  readonly hub: (network: NetworkName) => LeaseHub;
  readonly authorization: Authorization;
  /** What keys in the store begin with, for messages that 0.7.0's clients know. */
  readonly keyPrefix: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What the paths of the API do. Each method is one of them; failures are thrown and put into words by `explain`. */
export class LeaseApi {
  readonly #parts: LeaseApiParts;
  readonly #known = new Set<NetworkName>();

  constructor(parts: LeaseApiParts) {
    this.#parts = parts;
  }

  async getConfig(request: ApiRequest): Promise<Reply> {
    const config = await this.#parts.store.manager.networkConfig(networkOf(request), request);
    return this.#json(formatConfig(config));
  }

  async acquireLease(request: ApiRequest): Promise<Reply> {
    const network = networkOf(request);
    const attributes = attributesIn(request);
    const { manager } = this.#parts.store;
    const { authorization } = this.#parts;
    const owner = authorization.ownerFor(request.client);
    const config = await manager.networkConfig(network, request);
    const lease = await manager.acquireLease(
      network,
      {
        publicIP: attributes.publicIP,
        publicIPv6: attributes.publicIPv6,
        config,
        previous: previousSubnets(request),
        attributes: (existing) => {
          authorization.requireOwner(request.client, existing?.attributes.owner);
          return ownedBy(owner, attributes);
        },
      },
      request,
    );
    this.#parts.logger.info("lease given", {
      subnet: formatPrefix(lease.subnet),
      publicIP: formatAddress(lease.attributes.publicIP),
      ...(network !== "" && { network }),
    });
    return this.#leaseReply(lease);
  }

  async watchLeases(request: ApiRequest): Promise<Reply | Parked> {
    const network = networkOf(request);
    const next = cursorOf(request);
    const dialect = dialectOf(request);
    const hub = this.#parts.hub(network);
    const all = async () => this.#json((await hub.snapshot()).body(dialect));
    return next === undefined ? await all() : await this.#poll(request, next, undefined, all);
  }

  async watchLease(request: ApiRequest): Promise<Reply | Parked> {
    const network = networkOf(request);
    const subnet = subnetOf(request, "bad subnet");
    const next = cursorOf(request);
    const dialect = dialectOf(request);
    const all = async () => {
      const { cursor } = await this.#parts.hub(network).snapshot();
      const lease = await this.#parts.store.book.getLease(network, subnet, request);
      if (lease === undefined) throw this.#notFound(this.#leaseKey(network, subnet), cursor.index);
      return this.#json(formatSnapshot([formatLease(lease, this.#parts.clock, dialect)], cursor));
    };
    return next === undefined ? await all() : await this.#poll(request, next, subnet, all);
  }

  /** @param all answers with everything, if what happened since is not known */
  async #poll(
    request: ApiRequest,
    next: string,
    subnet: Prefix | undefined,
    all: () => Promise<Reply>,
  ): Promise<Reply | Parked> {
    const network = networkOf(request);
    const since = parseCursor(next);
    await this.#requireNetwork(network, request);
    const poll = { since, dialect: dialectOf(request), subnet, ...patienceOf(request) };
    const answer = await this.#parts.hub(network).poll(poll);
    const told = (answer: PollAnswer) => (answer === "snapshot" ? all() : this.#changes(answer));
    if (answer === "snapshot" || "body" in answer) return await told(answer);
    return { wait: (deliver) => answer.wait((answer) => deliver(told(answer))) };
  }

  /** The same answer goes to thousands. */
  readonly #changes = remembered(({ body }: Exclude<PollAnswer, "snapshot">) => this.#json(body));

  async putLease(request: ApiRequest): Promise<Reply> {
    const network = networkOf(request);
    const { subnet, attributes } = leaseIn(request);
    const expected = expectedRevision(request);
    const { store, authorization } = this.#parts;
    const owned = ownedBy(authorization.ownerFor(request.client), attributes);
    const lease = await this.#inRaces(async () => {
      const stored = await store.book.getLease(network, subnet, request);
      if (stored === undefined) {
        if (expected !== undefined) throw lost("it is gone");
        return await this.#recreate(network, subnet, owned, request);
      }
      const isSame = equalAddress(stored.attributes.publicIP, attributes.publicIP);
      if (!isSame && expected !== undefined && expected !== stored.revision)
        throw lost(`${formatAddress(stored.attributes.publicIP)} holds it now`);
      if (!isSame && expected === undefined) throw taken();
      authorization.requireOwner(request.client, stored.attributes.owner);
      const claim = { attributes: owned, isReservation: stored.isReservation };
      return await store.book.updateLease(network, stored, claim, request);
    });
    return this.#leaseReply(lease);
  }

  async deleteLease(request: ApiRequest): Promise<Reply> {
    const network = networkOf(request);
    const subnet = subnetOf(request, "failed to parse subnet");
    const claimed = claimIn(request);
    const expected = expectedRevision(request);
    const { store, authorization, logger } = this.#parts;
    await this.#inRaces(async () => {
      const stored = await store.book.getLease(network, subnet, request);
      if (stored === undefined) {
        if (expected !== undefined) throw lost("it is gone");
        throw await this.#missingLease(network, subnet, request);
      }
      const isMeant = claimed === undefined || equalAddress(claimed, stored.attributes.publicIP);
      if (!isMeant && expected !== stored.revision) throw taken();
      if (expected !== undefined && expected !== stored.revision && claimed === undefined)
        throw lost(`it has revision ${stored.revision}, not ${expected}`);
      authorization.requireRevoker(request.client, stored.attributes.owner);
      await store.book.deleteLease(network, stored, request);
    });
    logger.info("lease revoked", {
      subnet: formatPrefix(subnet),
      by: request.client,
      ...(network !== "" && { network }),
    });
    return reply(200);
  }

  async listReservations(request: ApiRequest): Promise<Reply> {
    const reservations = await this.#administration().listReservations(networkOf(request), request);
    return this.#json(formatReservations(reservations));
  }

  async addReservation(request: ApiRequest): Promise<Reply> {
    const network = networkOf(request);
    const reservation = reservationIn(request);
    this.#parts.authorization.requireAdmin(request.client);
    try {
      const administration = this.#administration();
      const config = await this.#parts.store.manager.networkConfig(network, request);
      if (reservation.subnet.length !== config.subnetLength)
        throw new RequestError(500, "reservation subnet has mask incompatible with network config", "invalid-config");
      if (!containsPrefix(config.network, reservation.subnet))
        throw new RequestError(500, "reservation subnet is outside of flannel network", "invalid-config");
      await administration.addReservation(network, reservation, request);
    } catch (error) {
      const { status, text, code } = await this.explain(error, request);
      throw new RequestError(status, text === "unimplemented" ? text : `internal error: ${text}`, code, {
        cause: error,
      });
    }
    return reply(200);
  }

  async removeReservation(request: ApiRequest): Promise<Reply> {
    const network = networkOf(request);
    const subnet = subnetOf(request, "bad subnet");
    this.#parts.authorization.requireAdmin(request.client);
    const administration = this.#administration();
    try {
      await administration.removeReservation(network, subnet, request);
    } catch (error) {
      if (!(error instanceof LeaseLostError)) throw error;
      throw await this.#missingLease(network, subnet, request);
    }
    return reply(200);
  }

  /** What a client is told of a failure, in 0.7.0's words where it has any. */
  async explain(error: unknown, request: ApiRequest) {
    if (error instanceof RequestError) return { status: error.status, text: error.message, code: error.code };
    if (error instanceof CursorSyntaxError) return { status: 500, text: error.message, code: undefined };
    if (error instanceof ConfigNotFoundError) {
      const network = networkOf(request);
      const key = network === "" ? `${this.#parts.keyPrefix}/config` : `${this.#parts.keyPrefix}/${network}`;
      const { cursor } = await this.#parts.store.book.listLeases(network, request);
      return { status: 500, text: keyNotFound(key, cursor.index), code: error.code };
    }
    if (error instanceof LeaseTakenError) return { status: 500, text: taken().message, code: error.code };
    if (error instanceof LeaseLostError) return { status: 412, text: error.message, code: error.code };
    if (error instanceof OutOfSubnetsError) return { status: 500, text: error.message, code: error.code };
    if (error instanceof InvalidConfigError)
      return { status: 500, text: error.message, code: error.code, field: error.path };
    const code = error instanceof Error && "code" in error ? String(error.code) : undefined;
    return { status: 500, text: describeError(error), code };
  }

  /** The answer to a request that failed. */
  async failed(error: unknown, request: ApiRequest): Promise<Reply> {
    return errorReply(await this.explain(error, request));
  }

  /** A client of 0.7.0 renews a lease that has expired meanwhile: it gets it again, if nobody else has. */
  async #recreate(
    network: NetworkName,
    subnet: Prefix,
    attributes: LeaseAttributes,
    request: ApiRequest,
  ): Promise<Lease> {
    const { manager, book } = this.#parts.store;
    const config = await manager.networkConfig(network, request);
    const { leases } = await book.listLeases(network, request);
    const held = leases.map((lease) => lease.subnet);
    if (!fitsConfig(subnet, config) || !isFree(subnet, held)) throw taken();
    return await book.createLease(network, { subnet, attributes, isReservation: false }, request);
  }

  /** Reads and writes again if somebody wrote between the two. */
  async #inRaces<T>(attempt: () => Promise<T>): Promise<T> {
    for (let race = 1; ; race++) {
      const outcome = await attempt().then(
        (value) => ({ value }),
        (error: unknown) => ({ error }),
      );
      if ("value" in outcome) return outcome.value;
      const isRace = outcome.error instanceof LeaseLostError || outcome.error instanceof LeaseTakenError;
      if (!isRace || race >= RACES) throw outcome.error;
    }
  }

  /** A watch of a network that is not there would be one more on the store, for ever. */
  async #requireNetwork(network: NetworkName, request: ApiRequest): Promise<void> {
    if (this.#known.has(network)) return;
    try {
      await this.#parts.store.manager.networkConfig(network, request);
    } catch (error) {
      if (!(error instanceof InvalidConfigError)) throw error; // one that makes no sense is one all the same
    }
    this.#known.add(network);
  }

  #administration(): Administration {
    const { administration } = this.#parts.store;
    if (administration === undefined) throw new RequestError(500, "unimplemented", "unsupported");
    return administration;
  }

  async #missingLease(network: NetworkName, subnet: Prefix, request: ApiRequest): Promise<RequestError> {
    const { cursor } = await this.#parts.store.book.listLeases(network, request);
    return this.#notFound(this.#leaseKey(network, subnet), cursor.index);
  }

  #notFound(key: string, index: bigint): RequestError {
    return new RequestError(500, keyNotFound(key, index), "lease-lost");
  }

  #leaseKey(network: NetworkName, subnet: Prefix): string {
    const home = network === "" ? this.#parts.keyPrefix : `${this.#parts.keyPrefix}/${network}`;
    return `${home}/subnets/${formatSubnetSegment(subnet)}`;
  }

  #leaseReply(lease: Lease): Reply {
    return this.#json(formatLeaseAnswer(lease, this.#parts.clock), { ETag: `"${lease.revision}"` });
  }

  #json(body: string | Buffer, headers: Reply["headers"] = {}): Reply {
    return reply(200, body, headers, "json");
  }
}

/** Final, unlike what the store says of a race. */
function taken(): RequestError {
  return new RequestError(500, "subnet: lease already taken", "lease-taken");
}

function lost(reason: string): RequestError {
  return new RequestError(412, reason, "lease-lost");
}

function keyNotFound(key: string, index: bigint): string {
  return `100: Key not found (${key}) [${index}]`;
}

function ownedBy(owner: string | undefined, attributes: LeaseAttributes): LeaseAttributes {
  return owner === undefined ? attributes : { ...attributes, owner };
}
