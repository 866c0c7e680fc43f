import type { Abortable } from "../../lib/abortable.ts";
import { type BackoffRange, backoff } from "../../lib/backoff.ts";
import type { Clock, Milliseconds } from "../../lib/clock.ts";
import type { Logger } from "../../lib/logger.ts";

/** A watch that ends sooner is a short one: servers end them after minutes. */
const SHORT: Milliseconds = 5_000;
/** After short ones in a row, as after calls that fail: thousands of hosts watch, and all their watches end together. */
const PAUSE: BackoffRange = { first: 200, most: 10_000 };
/** So many short ones in a row are worth to be told of: a server that stops has one or two. */
const TELLING = 5;

export interface WatchPaceParts {
  readonly server: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random: () => number;
}

/** When to watch again after the server, or a proxy before it, has ended a watch as it should, but perhaps at once. */
export class WatchPace {
  readonly #parts: WatchPaceParts;
  #short = 0;

  constructor(parts: WatchPaceParts) {
    this.#parts = parts;
  }

  /** Resolves when it is time for the next watch. Rejects with `signal.reason`. @param lasted how long the last one was */
  async next(lasted: Milliseconds, options: Abortable): Promise<void> {
    const { server, clock, logger, random } = this.#parts;
    if (lasted >= SHORT) {
      this.#short = 0;
      return;
    }
    this.#short++;
    if (this.#short === TELLING)
      logger.warn("watches are ended at once; changes of nodes are seen late", {
        server,
        hint: "a proxy before the API server must let answers last for minutes",
      });
    await clock.sleep(backoff(this.#short, PAUSE, random), options);
  }
}
