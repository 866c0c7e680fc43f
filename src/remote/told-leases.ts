import { formatPrefix, type Prefix } from "../ip/prefix.ts";
import type { Cursor, Lease, LeaseEvent, LeaseUpdate, NetworkName } from "../lease/lease.ts";
import type { Clock } from "../lib/clock.ts";
import type { Logger } from "../lib/logger.ts";
import type { ToldChanges, ToldLease } from "./answers.ts";
import type { HttpAnswer } from "./http-client.ts";

/** Complaints that were logged are forgotten after so many. */
const MOST_COMPLAINTS = 1_000;

/**
 * Makes leases of what servers tell. A server of 0.7.0 tells no revisions: there, a lease that reads as it did has the revision it had,
 * and another one that of the place in the history where it was seen.
 */
export class ToldLeases {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #seen = new Map<string, { readonly text: string; readonly revision: bigint }>();
  readonly #complaints = new Set<string>();
  #lastIndex = 0n;

  constructor(clock: Clock, logger: Logger) {
    this.#clock = clock;
    this.#logger = logger;
  }

  /** The highest place in the history that was heard of. */
  get lastIndex(): bigint {
    return this.#lastIndex;
  }

  read(network: NetworkName, told: ToldChanges, cursor: Cursor, answer: HttpAnswer): LeaseUpdate {
    for (const complaint of told.complaints) this.#complain(complaint, answer.endpoint);
    this.#lastIndex = cursor.index;
    const ahead = this.#serverAhead(answer);
    if (told.snapshot !== undefined) {
      const leases = told.snapshot.map((lease) => this.#lease(network, lease, cursor.index, ahead));
      return { type: "snapshot", leases, cursor };
    }
    const events = told.events.map((event): LeaseEvent => {
      if (event.type === "added")
        return { type: "added", lease: this.#lease(network, event.lease, cursor.index, ahead) };
      this.#seen.delete(key(network, event.subnet));
      return event;
    });
    return { type: "events", events, cursor };
  }

  /** The answer to our own write. @param least where in the history it may be, if the server does not tell */
  written(network: NetworkName, told: ToldLease, least: bigint, answer: HttpAnswer): Lease {
    return this.#lease(network, told, least, this.#serverAhead(answer));
  }

  #lease(network: NetworkName, told: ToldLease, index: bigint, ahead: number): Lease {
    const { subnet, ipv6Subnet, attributes, expiration } = told;
    const subnets = { subnet, ...(ipv6Subnet !== undefined && { ipv6Subnet }) };
    const revision = told.revision ?? this.#revision(key(network, subnet), told.text(), index);
    if (expiration === undefined) return { ...subnets, attributes, isReservation: true, revision };
    const left = expiration.getTime() - ahead - this.#clock.wallClock().getTime();
    return { ...subnets, attributes, isReservation: false, revision, expiresAt: this.#clock.now() + left, expiration };
  }

  #revision(where: string, text: string, index: bigint): bigint {
    const seen = this.#seen.get(where);
    if (seen?.text === text) return seen.revision;
    this.#seen.set(where, { text, revision: index });
    return index;
  }

  /** What the server's wall clock is ahead of ours, ms; to the second, which is what `Date` tells. */
  #serverAhead({ headers }: HttpAnswer): number {
    const time = Date.parse(String(headers["date"]));
    const ahead = time - this.#clock.wallClock().getTime();
    return Number.isNaN(ahead) || Math.abs(ahead) < 2_000 ? 0 : ahead;
  }

  #complain(reason: string, server: string): void {
    if (this.#complaints.has(reason)) return;
    if (this.#complaints.size >= MOST_COMPLAINTS) this.#complaints.clear();
    this.#complaints.add(reason);
    this.#logger.warn("what a flannel server tells makes no sense in part and is ignored", { server, reason });
  }
}

function key(network: NetworkName, subnet: Prefix): string {
  return `${network} ${formatPrefix(subnet)}`;
}
