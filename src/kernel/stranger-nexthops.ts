import type { Abortable } from "../lib/abortable.ts";
import { type Clock, type Instant, type Milliseconds, systemClock } from "../lib/clock.ts";
import type { Nexthop, Nexthops } from "./nexthops.ts";

/** A nexthop of our protocol that no route uses may be half of what another daemon is about to do, for so long. */
const HALF_DONE: Milliseconds = 2000;

/** Deletes nexthop objects that an earlier run left without routes; never one that anybody's route goes through. */
export class StrangerNexthops {
  readonly #nexthops: Nexthops;
  readonly #isCertainlyOurs: (nexthop: Nexthop) => boolean;
  readonly #clock: Clock;
  /** Since when each was seen without a route of ours. Infinity: it has other routes. */
  #since = new Map<number, Instant>();

  /** @param isCertainlyOurs whether nobody but this network has a use for it */
  constructor(nexthops: Nexthops, isCertainlyOurs: (nexthop: Nexthop) => boolean, clock: Clock = systemClock) {
    this.#nexthops = nexthops;
    this.#isCertainlyOurs = isCertainlyOurs;
    this.#clock = clock;
  }

  /** To be called when nexthops and routes have just been read. */
  async prune(options: Abortable): Promise<void> {
    const now = this.#clock.now();
    const strangers = this.#nexthops.takeStrangers();
    const since = new Map(strangers.map(({ id }) => [id, this.#since.get(id) ?? now]));
    const stale = strangers.filter((nexthop) => {
      const first = since.get(nexthop.id) ?? now;
      return now - first >= HALF_DONE || (first <= now && this.#isCertainlyOurs(nexthop));
    });
    this.#since = since;
    if (stale.length === 0) return;
    const inUse = await this.#nexthops.idsInUse(options);
    for (const { id } of stale) if (inUse.has(id)) since.set(id, Number.POSITIVE_INFINITY);
    await this.#nexthops.remove(
      stale.filter(({ id }) => !inUse.has(id)),
      options,
    );
  }
}
