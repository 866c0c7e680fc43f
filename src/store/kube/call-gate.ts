import type { Abortable } from "../../lib/abortable.ts";
import { type BackoffRange, backoff } from "../../lib/backoff.ts";
import type { Clock, Instant, Milliseconds } from "../../lib/clock.ts";

/** Between two calls while calls fail. Thousands of hosts ask one API server, and all fail together. */
const RANGE: BackoffRange = { first: 200, most: 10_000 };
/** A server may ask for patience; not for ever. */
const MOST_PATIENCE: Milliseconds = 60_000;

/** Whoever calls, for whatever reason and however often: while the API server fails, calls are few, and hosts do not come together. */
export class CallGate {
  readonly #clock: Clock;
  readonly #random: () => number;
  #failures = 0;
  #notBefore: Instant = 0;

  constructor(clock: Clock, random: () => number = Math.random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** Resolves when a call may be made. Rejects with `signal.reason`. */
  async pass({ signal }: Abortable): Promise<void> {
    signal.throwIfAborted();
    for (let left = this.#left; left > 0; left = this.#left) await this.#clock.sleep(left, { signal });
  }

  /** @param patience what the server asked for, `Retry-After` */
  failed(patience: Milliseconds = 0): void {
    this.#failures++;
    const asked = Math.min(patience, MOST_PATIENCE) * (1 + this.#random() / 2);
    this.#notBefore = this.#clock.now() + Math.max(backoff(this.#failures, RANGE, this.#random), asked);
  }

  succeeded(): void {
    this.#failures = 0;
    this.#notBefore = 0;
  }

  get #left(): Milliseconds {
    return this.#notBefore - this.#clock.now();
  }
}
