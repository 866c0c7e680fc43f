import type { Abortable } from "./abortable.ts";
import type { Clock, Instant, Milliseconds } from "./clock.ts";

interface Sleeper {
  readonly wakeAt: Instant;
  wake(): void;
}

/** A clock for tests: time passes only by `advance()`. */
export class FakeClock implements Clock {
  #now: Instant = 1_000_000;
  readonly #epoch = Date.UTC(2026, 0, 1);
  readonly #sleepers = new Set<Sleeper>();

  now(): Instant {
    return this.#now;
  }

  wallClock(): Date {
    return new Date(this.#epoch + this.#now);
  }

  sleep(span: Milliseconds, { signal }: Abortable): Promise<void> {
    if (signal.aborted) return Promise.reject(signal.reason);
    if (!(span > 0)) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#sleepers.delete(sleeper);
        reject(signal.reason);
      };
      const sleeper: Sleeper = {
        wakeAt: this.#now + span,
        wake: () => {
          this.#sleepers.delete(sleeper);
          signal.removeEventListener("abort", onAbort);
          resolve();
        },
      };
      this.#sleepers.add(sleeper);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** How many sleeps are under way. */
  get sleeping(): number {
    return this.#sleepers.size;
  }

  /** Lets time pass, waking sleepers in order and letting what they wake run before the next one. */
  async advance(span: Milliseconds): Promise<void> {
    const end = this.#now + span;
    await settle();
    for (;;) {
      const next = [...this.#sleepers].filter((s) => s.wakeAt <= end).toSorted((a, b) => a.wakeAt - b.wakeAt)[0];
      if (next === undefined) break;
      this.#now = Math.max(this.#now, next.wakeAt);
      next.wake();
      await settle();
    }
    this.#now = end;
    await settle();
  }
}

/** Lets pending promise reactions run; several turns, since one may start another. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}
