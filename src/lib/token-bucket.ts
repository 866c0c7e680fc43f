import type { Milliseconds } from "./clock.ts";

/** Lets so many pass at once, and so many a second in the long run. Knows no clock and allocates nothing, for use in the packet path. */
export class TokenBucket {
  readonly #perMillisecond: number;
  readonly #burst: number;
  #tokens: number;
  #at: Milliseconds = Number.NEGATIVE_INFINITY;

  /** Begins full. */
  constructor({ perSecond, burst }: { readonly perSecond: number; readonly burst: number }) {
    this.#perMillisecond = perSecond / 1000;
    this.#burst = burst;
    this.#tokens = burst;
  }

  /** Whether one may pass now. @param now of a clock that never steps back; if it did, nothing is gained by it */
  take(now: Milliseconds): boolean {
    if (now > this.#at) {
      this.#tokens = Math.min(this.#burst, this.#tokens + (now - this.#at) * this.#perMillisecond);
      this.#at = now;
    }
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
