import type { Clock, Instant, Milliseconds } from "../../lib/clock.ts";
import type { EndRow } from "./schema.ts";

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
    this.#wallAtBoot = clock.wallClock().getTime() - clock.now();
  }

  /** What to write for a lease that begins now. @param boot the number of this boot in the file */
  end(boot: number): EndRow {
    return {
      expires: Math.round(this.#clock.wallClock().getTime() + this.#ttl),
      boot,
      uptime: Math.round(this.#clock.now() + this.#ttl),
    };
  }

  /** What a query compares the columns `uptime` and `expires` with. */
  now(): { readonly uptime: number; readonly now: number } {
    const uptime = Math.round(this.#clock.now());
    return { uptime, now: Math.round(this.#wallAtBoot + uptime) };
  }

  /** Negative if overdue, undefined in a reservation; no lease lasts longer than a TTL from now, whatever the clocks said. */
  remaining(row: EndRow, boot: number): Milliseconds | undefined {
    if (row.expires === null) return undefined;
    const { uptime, now } = this.now();
    const remaining = row.boot === boot && row.uptime !== null ? row.uptime - uptime : row.expires - now;
    return Math.min(remaining, this.#ttl);
  }

  /** A lease's end as its reader sees it. */
  expiry(remaining: Milliseconds | undefined): { readonly expiresAt?: Instant; readonly expiration?: Date } {
    if (remaining === undefined) return {};
    return {
      expiresAt: this.#clock.now() + remaining,
      expiration: new Date(this.#clock.wallClock().getTime() + remaining),
    };
  }
}
