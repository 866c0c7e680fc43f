import type { Prefix } from "../ip/prefix.ts";
import type { NetworkName } from "../lease/lease.ts";
import type { Clock } from "../lib/clock.ts";
import { InvalidConfigError } from "../lib/errors.ts";
import { formatLease, formatSnapshot } from "./api-json.ts";
import { parseCursor } from "./cursor-text.ts";
import type { Failures } from "./failures.ts";
import type { LeaseHubs } from "./lease-hubs.ts";
import type { PollAnswer } from "./poll.ts";
import { remembered } from "./remembered.ts";
import { type Parked, type Reply, reply } from "./reply.ts";
import { type ApiRequest, cursorOf, dialectOf, networkOf, patienceOf, subnetOf } from "./request.ts";
import type { ServedStore } from "./served-store.ts";

export interface WatchApiParts {
  readonly store: ServedStore;
  readonly hubs: LeaseHubs;
  readonly clock: Clock;
}

/** Reads of leases, which wait for the next change if they have a cursor. Failures are thrown; `Failures` puts them into words. */
export class WatchApi {
  readonly #parts: WatchApiParts;
  readonly #failures: Failures;

  constructor(parts: WatchApiParts, failures: Failures) {
    this.#parts = parts;
    this.#failures = failures;
  }

  async watchLeases(request: ApiRequest): Promise<Reply | Parked> {
    const network = networkOf(request);
    const next = cursorOf(request);
    const dialect = dialectOf(request);
    const hub = this.#parts.hubs.of(network);
    const all = async () => jsonReply((await hub.snapshot()).body(dialect));
    return next === undefined ? await all() : await this.#poll(request, next, undefined, all);
  }

  async watchLease(request: ApiRequest): Promise<Reply | Parked> {
    const network = networkOf(request);
    const subnet = subnetOf(request, "bad subnet");
    const next = cursorOf(request);
    const dialect = dialectOf(request);
    const all = async () => {
      const { cursor } = await this.#parts.hubs.of(network).snapshot();
      const lease = await this.#parts.store.book.getLease(network, subnet, request);
      if (lease === undefined) throw this.#failures.missingLeaseAt(network, subnet, cursor.index);
      return jsonReply(formatSnapshot([formatLease(lease, this.#parts.clock, dialect)], cursor));
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
    const { hubs } = this.#parts;
    if (!hubs.of(network).isWatching) await this.#requireNetwork(network, request);
    const poll = { since, dialect: dialectOf(request), subnet, ...patienceOf(request) };
    const answer = await hubs.of(network).poll(poll);
    const told = (answer: PollAnswer) => (answer === "snapshot" ? all() : this.#changes(answer));
    if (answer === "snapshot" || "body" in answer) return await told(answer);
    return { wait: (deliver) => answer.wait((answer) => deliver(told(answer))) };
  }

  /** The same answer goes to thousands. */
  readonly #changes = remembered(({ body }: Exclude<PollAnswer, "snapshot">) => jsonReply(body));

  /** A watch of a network that is not there would be one more on the store, for ever. */
  async #requireNetwork(network: NetworkName, request: ApiRequest): Promise<void> {
    try {
      await this.#parts.store.manager.networkConfig(network, request);
    } catch (error) {
      if (!(error instanceof InvalidConfigError)) throw error; // one that makes no sense is one all the same
    }
  }
}

function jsonReply(body: string | Buffer): Reply {
  return reply(200, body, {}, "json");
}
