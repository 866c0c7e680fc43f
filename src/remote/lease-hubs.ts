import type { NetworkName } from "../lease/lease.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Milliseconds } from "../lib/clock.ts";
import { LeaseHub, type LeaseHubParts } from "./lease-hub.ts";

/** A network of which nobody asked for so long is not watched any more: it may be gone. */
const IDLE: Milliseconds = 10 * 60_000;
const LOOK_EVERY: Milliseconds = 60_000;
/** Anybody may ask for networks that are not there. */
const MOST = 1_000;

/** A hub for each network that somebody asks for, as long as anybody does. */
export class LeaseHubs {
  readonly #parts: Omit<LeaseHubParts, "network">;
  readonly #signal: AbortSignal;
  readonly #hubs = new Map<NetworkName, LeaseHub>();

  /** @param signal ends what several clients share */
  constructor(parts: Omit<LeaseHubParts, "network">, { signal }: Abortable) {
    this.#parts = parts;
    this.#signal = signal;
    parts.spawn((signal) => this.#tidy(signal));
  }

  /** How many clients are waiting. */
  get waiting(): number {
    return this.#hubs.values().reduce((sum, { waiting }) => sum + waiting, 0);
  }

  of(network: NetworkName): LeaseHub {
    let hub = this.#hubs.get(network);
    if (hub !== undefined) return hub;
    if (this.#hubs.size >= MOST) this.#close((each) => !each.isWatching);
    hub = new LeaseHub({ ...this.#parts, network }, { signal: this.#signal });
    this.#hubs.set(network, hub);
    return hub;
  }

  async #tidy(signal: AbortSignal): Promise<void> {
    const { clock } = this.#parts;
    for (;;) {
      await clock.sleep(LOOK_EVERY, { signal });
      const since = clock.now() - IDLE;
      this.#close((hub) => hub.lastUse <= since);
    }
  }

  #close(isWanted: (hub: LeaseHub) => boolean): void {
    for (const [network, hub] of this.#hubs)
      if (isWanted(hub)) {
        this.#hubs.delete(network);
        hub[Symbol.dispose]();
      }
  }
}
