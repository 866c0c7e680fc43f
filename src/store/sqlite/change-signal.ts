import { closeSync, type FSWatcher, openSync, statSync, utimesSync, watch } from "node:fs";
import type { Abortable } from "../../lib/abortable.ts";
import type { Clock, Milliseconds } from "../../lib/clock.ts";
import { describeError } from "../../lib/errors.ts";
import type { Logger } from "../../lib/logger.ts";

/** How often to look without having been told: who commits may be killed before it tells, and a file may be replaced. */
const SAFETY_NET: Milliseconds = 1_000;
/** The same where the kernel does not tell us of changes. */
const POLL: Milliseconds = 50;

/**
 * Beside the store and always empty. Whoever has committed touches it: the store itself changes before a commit is complete,
 * and whoever looked then would only be in the way.
 */
export function signalFile(store: string): string {
  return `${store}-signal`;
}

/** Tells every process that watches the store of a complete commit. */
export function announce(store: string): void {
  const now = new Date();
  try {
    utimesSync(signalFile(store), now, now);
  } catch {
    // Nobody has watched yet, or it is not ours to touch: watchers look by themselves, only later.
  }
}

/** Tells, within this process, that the store may have changed. */
export class ChangeSignal implements Disposable {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #waiting = new Set<() => void>();
  #watcher: FSWatcher | undefined;
  #watched: string | undefined;
  #hasComplained = false;
  #count = 0;

  constructor(store: string, { clock, logger }: { readonly clock: Clock; readonly logger: Logger }) {
    this.#path = signalFile(store);
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

  /** Keeps watching until aborted. */
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

  /** Puts the watch on the signal file that is there now, making it if need be. */
  follow(): void {
    try {
      closeSync(openSync(this.#path, "a", 0o600));
      const { dev, ino } = statSync(this.#path, { bigint: true });
      if (this.#watched === `${dev}:${ino}`) return;
      this[Symbol.dispose]();
      this.#watcher = watch(this.#path, { persistent: false }, this.wake).on("error", this.#unwatch);
      this.#watched = `${dev}:${ino}`;
    } catch (error) {
      this.#unwatch(error);
    }
  }

  readonly #unwatch = (error: unknown): void => {
    this[Symbol.dispose]();
    this.#watched = undefined;
    if (this.#hasComplained) return;
    this.#hasComplained = true;
    const fields = { file: this.#path, reason: describeError(error) };
    this.#logger.warn("the embedded store's changes cannot be watched; looking at it 20 times a second", fields);
  };
}
