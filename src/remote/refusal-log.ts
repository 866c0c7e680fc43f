import type { Clock, Instant, Milliseconds } from "../lib/clock.ts";
import type { Logger } from "../lib/logger.ts";

/** The same refusal of the same client is logged this often. */
const SAY_AGAIN: Milliseconds = 10 * 60_000;
/** What was said is forgotten after so many. */
const MOST_SAID = 1_000;

/** What strangers can bring about by trying: nobody fills our log by trying again. */
export class RefusalLog {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #said = new Map<string, Instant>();

  constructor({ clock, logger }: { readonly clock: Clock; readonly logger: Logger }) {
    this.#clock = clock;
    this.#logger = logger;
  }

  say(level: "warn" | "error", message: string, fields: Readonly<Record<string, unknown>>): void {
    const key = JSON.stringify([message, fields]);
    const now = this.#clock.now();
    if (now - (this.#said.get(key) ?? Number.NEGATIVE_INFINITY) < SAY_AGAIN) return;
    if (this.#said.size >= MOST_SAID) this.#said.clear();
    this.#said.set(key, now);
    this.#logger[level](message, fields);
  }
}
