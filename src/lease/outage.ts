import type { Abortable } from "../lib/abortable.ts";
import { type BackoffRange, backoff } from "../lib/backoff.ts";
import type { Clock, Instant, Milliseconds } from "../lib/clock.ts";
import { describeError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import { HistoryLostError, StoreRefusedError, StoreUnavailableError } from "./errors.ts";
import type { StoreHealth } from "./store-health.ts";

const UNAVAILABLE: BackoffRange = { first: 100, most: 5_000 };
/** A password or certificate may be changed under us, but asking often does not help. */
const REFUSED: BackoffRange = { first: 1_000, most: 10_000 };
/** A watch that lasted this long was a good one: what goes wrong next is a first failure. */
const STEADY: Milliseconds = 10_000;

export interface OutageParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random: () => number;
  /** The store's name at this moment. */
  readonly store: () => string;
  readonly health?: StoreHealth | undefined;
}

/** A watch's troubles: counts failures in a row, and logs the first of them and the end. To be disposed of with the watch. */
export class Outage implements Disposable {
  readonly #parts: OutageParts;
  #failures = 0;
  #logged: { readonly code: string; readonly since: Instant } | undefined;
  #connectedAt: Instant | undefined;

  constructor(parts: OutageParts) {
    this.#parts = parts;
  }

  /** The store answers. */
  over(): void {
    const { clock, logger, store, health } = this.#parts;
    this.#connectedAt ??= clock.now();
    health?.over(this);
    if (this.#logged === undefined) return;
    const seconds = Math.round((clock.now() - this.#logged.since) / 1000);
    logger.info("the store is back", { store: store(), seconds });
    this.#logged = undefined;
  }

  /** Until it is time to try again. @throws `error` itself if it is none of a store's */
  async wait(error: unknown, options: Abortable): Promise<void> {
    const { clock, random } = this.#parts;
    if (this.#connectedAt !== undefined && clock.now() - this.#connectedAt >= STEADY) this.#failures = 0;
    this.#connectedAt = undefined;
    this.#failures++;
    if (error instanceof HistoryLostError) {
      this.#parts.logger.info("the store no longer has the changes since we last heard of it; listing again", {
        reason: describeError(error),
      });
      if (this.#failures > 1) await clock.sleep(backoff(this.#failures, UNAVAILABLE, random), options);
      return;
    }
    if (!(error instanceof StoreUnavailableError) && !(error instanceof StoreRefusedError)) throw error;
    this.#log(error);
    this.#parts.health?.away(this, this.#parts.clock.wallClock(), error);
    const range = error instanceof StoreRefusedError ? REFUSED : UNAVAILABLE;
    await clock.sleep(backoff(this.#failures, range, random), options);
  }

  [Symbol.dispose](): void {
    this.#parts.health?.over(this);
  }

  #log(error: StoreUnavailableError | StoreRefusedError): void {
    if (this.#logged?.code === error.code) return;
    const { clock, logger, store } = this.#parts;
    this.#logged = { code: error.code, since: this.#logged?.since ?? clock.now() };
    const fields = { store: store(), reason: describeError(error) };
    if (error instanceof StoreRefusedError)
      logger.error("the store refuses us; trying again from time to time", fields);
    else logger.warn("the store is away; leases are kept as they were", fields);
  }
}
