import { type NetworkStatus, STARTING } from "./network-status.ts";

/** Says how a network is, whenever that changes. */
export class StatusTeller {
  readonly #tell: (status: () => NetworkStatus) => void;
  #status: () => NetworkStatus = () => STARTING;

  constructor(tell: ((status: () => NetworkStatus) => void) | undefined) {
    this.#tell = tell ?? (() => {});
  }

  is(status: () => NetworkStatus): void {
    this.#status = status;
    this.again();
  }

  /** What is said to be so has changed in itself. */
  again(): void {
    this.#tell(this.#status);
  }

  /** @returns what says that it is waited for, with the reason once there is one */
  waitsFor(what: string): (reason?: string) => void {
    const say = (reason?: string) => this.is(() => ({ phase: "waiting", what, reason }));
    say();
    return say;
  }
}
