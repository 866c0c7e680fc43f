import { type FSWatcher, statSync, watch } from "node:fs";
import type { Abortable } from "../../lib/abortable.ts";
import type { Clock, Milliseconds } from "../../lib/clock.ts";
import { describeError } from "../../lib/errors.ts";
import type { Logger } from "../../lib/logger.ts";

/** How often to look without having been told: who commits may be killed before it tells, and a file may be replaced. */
const SAFETY_NET: Milliseconds = 2_000;
/** The same where the kernel does not tell us of changes. */
const POLL: Milliseconds = 50;

/** Tells, within this process, that the file may have changed. */
export class ChangeSignal implements Disposable {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #waiting = new Set<() => void>();
  #watcher: FSWatcher | undefined;
  #watched: string | undefined;
  #hasComplained = false;
  #count = 0;

  constructor(path: string, { clock, logger }: { readonly clock: Clock; readonly logger: Logger }) {
    this.#path = path;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** Counts the signals; take it before you read, and wait for the next after it. */
  get count(): number {
    return this.#count;
  }

  /** Resolves as soon as there has been another signal than `count`. Rejects with `signal.reason`. */
  async after(count: number, { signal }: Abortable): Promise<void> {
    signal.throwIfAborted();
    if (this.#count !== count) return;
    await new Promise<void>((resolve, reject) => {
      const done = () => {
        this.#waiting.delete(done);
        signal.removeEventListener("abort", done);
        if (signal.aborted) reject(signal.reason);
        else resolve();
      };
      this.#waiting.add(done);
      signal.addEventListener("abort", done, { once: true });
    });
  }

  /** Wakes everyone who waits. */
  readonly wake = (): void => {
    this.#count++;
    for (const done of this.#waiting) done();
  };

  /** Watches the file that is at the path, whichever that is, until aborted. */
  async run({ signal }: Abortable): Promise<void> {
    for (;;) {
      this.follow();
      await this.#clock.sleep(this.#watcher === undefined ? POLL : SAFETY_NET, { signal });
      this.wake();
    }
  }

  [Symbol.dispose](): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  /** Puts the watch on the file that is at the path now, if it is not yet. */
  follow(): void {
    const status = statSync(this.#path, { bigint: true, throwIfNoEntry: false });
    const identity = status && `${status.dev}:${status.ino}`;
    if (identity === this.#watched) return;
    this[Symbol.dispose]();
    this.#watched = identity;
    if (identity === undefined) return;
    try {
      this.#watcher = watch(this.#path, { persistent: false }, this.wake);
      this.#watcher.on("error", this.#unwatch);
    } catch (error) {
      this.#unwatch(error);
    }
  }

  readonly #unwatch = (error: unknown): void => {
    this[Symbol.dispose]();
    if (this.#hasComplained) return;
    this.#hasComplained = true;
    const fields = { file: this.#path, reason: describeError(error) };
    this.#logger.warn("the embedded store cannot be watched and is looked at instead, 20 times a second", fields);
  };
}
