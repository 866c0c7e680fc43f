import type { Abortable } from "../lib/abortable.ts";
import type { Clock, Milliseconds } from "../lib/clock.ts";
import { Mailbox } from "../lib/mailbox.ts";
import type { ServiceManager } from "./service-manager.ts";

/** Nobody reads faster, and a burst of changes is one. */
const LEAST_PAUSE: Milliseconds = 500;
/** How often it is put into words though nobody said that something has changed. */
const LOOK_EVERY: Milliseconds = 15_000;

/** Keeps the service manager's line about us true. */
export class StatusLine {
  readonly #manager: ServiceManager;
  readonly #clock: Clock;
  readonly #changes = new Mailbox<"changed">();
  #describe = () => "";

  constructor({ manager, clock }: { readonly manager: ServiceManager; readonly clock: Clock }) {
    this.#manager = manager;
    this.#clock = clock;
  }

  /** To be called first. Says from now on what this says. */
  set(describe: () => string): void {
    this.#describe = describe;
    this.changed();
  }

  /** What it says may be another thing now. Costs nothing. */
  readonly changed = (): void => {
    if (this.#changes.size === 0) this.#changes.put("changed");
  };

  /** Tells at once what is so now. */
  tell(): void {
    this.#manager.status(this.#describe());
  }

  /** Until the signal, where there is somebody to tell. */
  async run({ signal }: Abortable): Promise<void> {
    if (!this.#manager.isThere) return;
    for (;;) {
      this.tell();
      await this.#clock.sleep(LEAST_PAUSE, { signal });
      const nap = new AbortController();
      const either = AbortSignal.any([signal, nap.signal]);
      const ignore = () => {};
      await Promise.race([
        this.#changes.takeAll({ signal: either }).catch(ignore),
        this.#clock.sleep(LOOK_EVERY, { signal: either }).catch(ignore),
      ]);
      nap.abort();
      signal.throwIfAborted();
    }
  }
}
