import { equalAddress, formatAddress } from "../ip/address.ts";
import { formatPrefix, type Prefix } from "../ip/prefix.ts";
import { fitsConfig, isFree } from "../lease/allocation.ts";
import { LeaseLostError, LeaseTakenError } from "../lease/errors.ts";
import type { Lease, LeaseAttributes, NetworkName } from "../lease/lease.ts";
import type { Clock } from "../lib/clock.ts";
import type { Logger } from "../lib/logger.ts";
import { formatConfig, formatLeaseAnswer } from "./api-json.ts";
import type { Authorization } from "./authorization.ts";
import { type Failures, lost, taken } from "./failures.ts";
import { type Reply, reply } from "./reply.ts";
import {
  type ApiRequest,
  attributesIn,
  claimIn,
  expectedRevision,
  leaseIn,
  networkOf,
  previousSubnets,
  subnetOf,
} from "./request.ts";
import type { ServedStore } from "./served-store.ts";

/** How often a client's write is tried again because somebody wrote at the same moment. */
const RACES = 10;

export interface LeaseApiParts {
  readonly store: ServedStore;
  readonly authorization: Authorization;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** `/v1/{network}/config` and writes of leases. Each method is one path and method; failures are thrown; `Failures` puts them into words. */
export class LeaseApi {
  readonly #parts: LeaseApiParts;
  readonly #failures: Failures;

  constructor(parts: LeaseApiParts, failures: Failures) {
    this.#parts = parts;
    this.#failures = failures;
  }

  async getConfig(request: ApiRequest): Promise<Reply> {
    const config = await this.#parts.store.manager.networkConfig(networkOf(request), request);
    return reply(200, formatConfig(config), {}, "json");
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
        throw await this.#failures.missingLease(network, subnet, request);
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

  #leaseReply(lease: Lease): Reply {
    return reply(200, formatLeaseAnswer(lease, this.#parts.clock), { ETag: `"${lease.revision}"` }, "json");
  }
}

function ownedBy(owner: string | undefined, attributes: LeaseAttributes): LeaseAttributes {
  return owner === undefined ? attributes : { ...attributes, owner };
}
