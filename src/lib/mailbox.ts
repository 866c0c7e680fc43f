import type { Abortable } from "./abortable.ts";

/** An unbounded queue from callbacks to one waiting reader. */
export class Mailbox<T> {
  #messages: T[] = [];
  #wake: (() => void) | undefined;

  put(message: T): void {
    this.#messages.push(message);
    this.#wake?.();
  }

  get size(): number {
    return this.#messages.length;
  }

  /** Everything that has arrived since the last call, waiting for at least one. Rejects with `signal.reason`. */
  async takeAll({ signal }: Abortable): Promise<readonly T[]> {
    signal.throwIfAborted();
    if (this.#messages.length === 0) await this.#arrival(signal);
    const taken = this.#messages;
    this.#messages = [];
    return taken;
  }

  #arrival(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = () => {
        this.#wake = undefined;
        signal.removeEventListener("abort", onAbort);
      };
      const onAbort = () => {
        done();
        reject(signal.reason);
      };
      this.#wake = () => {
        done();
        resolve();
      };
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }
}
