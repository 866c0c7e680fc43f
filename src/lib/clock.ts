import { uptime } from "node:os";
import type { Abortable } from "./abortable.ts";

/** A span of time in milliseconds; may be Infinity. */
export type Milliseconds = number;

/** A point on the clock that counts from boot, suspend included, in milliseconds. Never steps; means nothing on another host. */
export type Instant = number & { readonly __brand?: "Instant" };

/** The only source of time and of timers. */
export interface Clock {
  now(): Instant;
  /** For display only: a wall clock may step. */
  wallClock(): Date;
  /** Resolves after `span`, at once if it is not positive, never if Infinity. Rejects with `signal.reason`. */
  sleep(span: Milliseconds, options: Abortable): Promise<void>;
}

/** A timer counts no suspended time and takes no more than 2³¹−1 ms: longer sleeps look at the clock this often. */
const LONGEST_NAP: Milliseconds = 30_000;

/** A look at the uptime reads a file and is right to 10 ms only: it is taken this often, to notice a suspend. */
const UPTIME_EVERY: Milliseconds = 1_000;
/** The uptime is ahead of the monotonic clock by this much more: the host was suspended. */
const SUSPENDED: Milliseconds = 100;

/** CLOCK_MONOTONIC. `performance` would tell the same, but is 5 ms of code to load. */
export function monotonicTime(): Milliseconds {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1000 + nanoseconds / 1e6;
}

/** What CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC. */
let ahead = uptime() * 1000 - monotonicTime();
let lookedAt = monotonicTime();

function bootTime(): Instant {
  const monotonic = monotonicTime();
  if (monotonic - lookedAt > UPTIME_EVERY) {
    lookedAt = monotonic;
    const now = uptime() * 1000 - monotonic;
    if (now - ahead > SUSPENDED) ahead = now;
  }
  return monotonic + ahead;
}

/** CLOCK_BOOTTIME (proc(5), uptime) and Node's timers. */
export const systemClock: Clock = {
  now: bootTime,
  wallClock: () => new Date(),
  async sleep(span, { signal }) {
    signal.throwIfAborted();
    if (!(span > 0)) return;
    if (span <= LONGEST_NAP) return await nap(span, signal);
    const end = this.now() + span;
    for (let left = span; left > 0; left = end - this.now()) await nap(Math.min(left, LONGEST_NAP), signal);
  },
};

/** As `setTimeout` of node:timers/promises, which makes an error with its stack for every sleep that ends early: most do. */
function nap(span: Milliseconds, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    }, span);
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
