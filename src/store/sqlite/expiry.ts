import { StoreRefusedError, StoreUnavailableError } from "../../lease/errors.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Clock, Instant, Milliseconds } from "../../lib/clock.ts";
import type { Logger } from "../../lib/logger.ts";
import { removeLease } from "./history.ts";
import type { LeaseTime } from "./lease-time.ts";
import type { StoreFile } from "./store-file.ts";

export interface ExpiryOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly time: LeaseTime;
  /** How long this process must have been up and awake before it expires anything. */
  readonly grace: Milliseconds;
  readonly tick: Milliseconds;
  readonly historyLength: number;
}

/** No lease can end sooner than the earliest one unless somebody edited the file: look again this often. */
const LONGEST_TRUST: Milliseconds = 10 * 60_000;
/** Leases removed in one transaction. */
const BATCH = 200;

/** Removes leases whose time is over. Every process that watches does so; the file's transactions let one of them do it. */
export class Expiry {
  readonly #file: StoreFile;
  readonly #options: ExpiryOptions;
  #awakeSince: Instant;
  #nextLook: Instant;

  constructor(file: StoreFile, options: ExpiryOptions) {
    this.#file = file;
    this.#options = options;
    this.#awakeSince = options.clock.now();
    this.#nextLook = this.#awakeSince;
  }

  async run({ signal }: Abortable): Promise<void> {
    const { clock, tick, grace } = this.#options;
    for (;;) {
      const before = clock.now();
      await clock.sleep(tick, { signal });
      const now = clock.now();
      // A machine that slept comes back with every lease overdue, and their owners deserve the time to say so.
      if (now - before > 2 * tick + 1_000) this.#awakeSince = now;
      if (now - this.#awakeSince >= grace && now >= this.#nextLook) await this.#look({ signal });
    }
  }

  async #look({ signal }: Abortable): Promise<void> {
    const { clock, time, logger, historyLength } = this.#options;
    try {
      for (let isMore = true; isMore; ) {
        const remaining = await this.#file.read(
          (statements, boot) =>
            statements.earliestEnd.get({ boot, ...time.columns(time.read()) })?.remaining ?? undefined,
          { signal },
        );
        this.#nextLook = clock.now() + Math.min(remaining ?? LONGEST_TRUST, LONGEST_TRUST);
        if (remaining === undefined || remaining > 0) return;
        const ended = await this.#file.write(
          (statements, boot) => {
            const rows = statements.ended.all({ boot, ...time.columns(time.read()), limit: BATCH });
            for (const { network, key } of rows) removeLease(statements, network, key, historyLength);
            return rows;
          },
          { signal },
        );
        for (const { network, key } of ended) logger.info("lease expired", { network, key });
        isMore = ended.length > 0;
      }
    } catch (error) {
      signal.throwIfAborted();
      // The watch, which reads the same file, reports what is wrong with that.
      const isReported = error instanceof StoreUnavailableError || error instanceof StoreRefusedError;
      if (!isReported) logger.error("leases cannot be expired", { error });
    }
  }
}
