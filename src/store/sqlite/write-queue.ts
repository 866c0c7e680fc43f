import { setImmediate as nextTurn } from "node:timers/promises";
import type { Abortable } from "../../lib/abortable.ts";

/** Tells a caller the outcome of his write. */
type Tell = () => void;

/** Runs a transaction, several times if need be, until it is durable. */
export type Commit<Target> = (transaction: (target: Target) => readonly Tell[]) => Promise<readonly Tell[]>;

interface Write<Target> {
  /** Works on `target` now; what it gives back is called once that is durable. */
  attempt(target: Target): Tell;
  fail(error: unknown): void;
}

/** Writes in one transaction: some milliseconds of work. */
const MOST_WRITES = 100;

/** Writes that are asked for together become one transaction, since what costs is the wait for the disk. */
export class WriteQueue<Target> {
  readonly #commit: Commit<Target>;
  readonly #isFatal: (error: unknown) => boolean;
  readonly #waiting = new Set<Write<Target>>();
  #isBusy = false;

  /** @param isFatal whether what a write threw spoils the whole transaction, and not only that write */
  constructor(commit: Commit<Target>, isFatal: (error: unknown) => boolean) {
    this.#commit = commit;
    this.#isFatal = isFatal;
  }

  /** `change` may run several times, and must throw, if at all, before it has changed anything. */
  async write<T>(change: (target: Target) => T, { signal }: Abortable): Promise<T> {
    signal.throwIfAborted();
    return await new Promise<T>((resolve, reject) => {
      const settle = () => {
        this.#waiting.delete(write);
        signal.removeEventListener("abort", onAbort);
      };
      const onAbort = () => write.fail(signal.reason);
      const write: Write<Target> = {
        attempt: (target) => {
          try {
            const result = change(target);
            return () => {
              settle();
              resolve(result);
            };
          } catch (error) {
            if (this.#isFatal(error)) throw error;
            return () => write.fail(error);
          }
        },
        fail: (error) => {
          settle();
          reject(error);
        },
      };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#waiting.add(write);
      if (!this.#isBusy) void this.#work();
    });
  }

  /** Never rejects: its errors are its callers'. */
  async #work(): Promise<void> {
    this.#isBusy = true;
    await nextTurn();
    while (this.#waiting.size > 0) {
      const batch = [...this.#waiting].slice(0, MOST_WRITES);
      try {
        const tell = await this.#commit((target) =>
          batch.filter((write) => this.#waiting.has(write)).map((write) => write.attempt(target)),
        );
        for (const each of tell) each();
      } catch (error) {
        for (const write of batch) if (this.#waiting.has(write)) write.fail(error);
      }
      await nextTurn();
    }
    this.#isBusy = false;
  }
}
