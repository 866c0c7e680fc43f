import type { Clock, Instant, Milliseconds } from "./clock.ts";

/** Why a sleep ends early; made once. */
const MOVED = new Error("set to another time");

/**
 * Rings at the earliest time it was set to since it last rang, so that setting it to a later one costs nothing: a timer of its own for
 * each of many short waits costs more than a small pass. Who hears it looks at the clock.
 */
export class Alarm implements Disposable {
  readonly #clock: Clock;
  readonly #ring: () => void;
  #at: Instant = Number.POSITIVE_INFINITY;
  #sleep = new AbortController();

  constructor(clock: Clock, ring: () => void) {
    this.#clock = clock;
    this.#ring = ring;
  }

  set(time: Instant): void {
    if (time >= this.#at) return;
    this.#at = time;
    this.#sleep.abort(MOVED);
    const sleep = new AbortController();
    this.#sleep = sleep;
    void this.#ringAfter(time - this.#clock.now(), sleep);
  }

  async #ringAfter(wait: Milliseconds, sleep: AbortController): Promise<void> {
    try {
      await this.#clock.sleep(wait, sleep);
    } catch {
      return; // set to an earlier time, or disposed of
    }
    if (this.#sleep === sleep) this.#at = Number.POSITIVE_INFINITY;
    this.#ring();
  }

  [Symbol.dispose](): void {
    this.#sleep.abort(MOVED);
  }
}
