import type { Clock, Instant, Milliseconds } from "../../lib/clock.ts";
import type { EndRow } from "./schema.ts";

/** What the clocks say at one moment. Reading them costs as much as parsing a lease: once for a whole listing will do. */
export interface Reading {
  readonly instant: Instant;
  readonly wallClock: number;
}

/**
 * The ends of leases, measured on the clock that counts from boot, which all processes of a machine share and nobody can step.
 * What was written before the last boot, or on another machine, is told by the wall clock, and that one is read only once:
 * a step while we run moves no lease's end.
 */
export class LeaseTime {
  readonly #clock: Clock;
  readonly #ttl: Milliseconds;
  readonly #wallAtBoot: number;

  constructor(clock: Clock, ttl: Milliseconds) {
    this.#clock = clock;
    this.#ttl = ttl;
    const { instant, wallClock } = this.read();
    this.#wallAtBoot = wallClock - instant;
  }

  read(): Reading {
    return { instant: this.#clock.now(), wallClock: this.#clock.wallClock().getTime() };
  }

  /** What to write for a lease that begins now. @param boot the number of this boot in the file */
  end({ instant, wallClock }: Reading, boot: number): EndRow {
    return { expires: Math.round(wallClock + this.#ttl), boot, uptime: Math.round(instant + this.#ttl) };
  }

  /** What a query compares the columns `uptime` and `expires` with. */
  columns({ instant }: Reading): { readonly uptime: number; readonly now: number } {
    return { uptime: Math.round(instant), now: Math.round(this.#wallAtBoot + instant) };
  }

  /** Negative if overdue, undefined in a reservation; no lease lasts longer than a TTL from now, whatever the clocks said. */
  remaining(row: EndRow, { instant }: Reading, boot: number): Milliseconds | undefined {
    if (row.expires === null) return undefined;
    const remaining =
      row.boot === boot && row.uptime !== null ? row.uptime - instant : row.expires - this.#wallAtBoot - instant;
    return Math.min(remaining, this.#ttl);
  }
}

/** A lease's end as its reader sees it. */
export function expiry(
  { instant, wallClock }: Reading,
  remaining: Milliseconds | undefined,
): { readonly expiresAt?: Instant; readonly expiration?: Date } {
  if (remaining === undefined) return {};
  return { expiresAt: instant + remaining, expiration: new Date(wallClock + remaining) };
}
