import type { Overlay } from "../backend/overlay.ts";
import { Dataplane } from "../dataplane/dataplane.ts";
import type { Prefix } from "../ip/prefix.ts";
import { LeaseLostError } from "../lease/errors.ts";
import type { Lease, NetworkName } from "../lease/lease.ts";
import type { Abortable } from "../lib/abortable.ts";
import { Scope } from "../lib/scope.ts";
import { whenConfigured } from "./configured.ts";
import { NetworkFirewall } from "./firewall/network-firewall.ts";
import { HostMemory } from "./host-memory.ts";
import { KnownLeases } from "./known-leases.ts";
import { whenLeased } from "./leased.ts";
import type { LifeParts } from "./life-parts.ts";
import type { NetworkOptions } from "./network-options.ts";
import { Overtaken } from "./overtaken.ts";
import { Session } from "./session.ts";
import { StatusTeller } from "./status-teller.ts";

/** One network's life on this host: config, lease, device, file, peers; again after the lease was lost. Ends only by the signal. */
export async function runNetwork(options: NetworkOptions, { signal }: Abortable): Promise<void> {
  const memory = await HostMemory.open(options.state);
  await using scope = new Scope(signal);
  const { clock, logger, filters } = options;
  const dataplane = new Dataplane({ clock, logger });
  const firewall = filters && new NetworkFirewall({ ...filters, clock, logger });
  const known = new KnownLeases(memory, clock, logger);
  const status = new StatusTeller(options.onStatus);
  using _watched = options.liveness?.watch(named("the reconcile loop", options.name), () => dataplane.pulse);
  scope.spawn((signal) => dataplane.run({ signal }));
  if (firewall !== undefined) scope.spawn((signal) => firewall.run({ signal }));
  scope.spawn((signal) => new NetworkLife({ options, dataplane, firewall, memory, known, status }).run({ signal }));
  await scope.join();
}

function named(loop: string, network: NetworkName): string {
  return network === "" ? loop : `${loop} of network ${JSON.stringify(network)}`;
}

class NetworkLife {
  readonly #parts: LifeParts;
  #lost: Prefix | undefined;
  /** Held when it was overtaken, and still ours. */
  #held: Lease | undefined;

  constructor(parts: LifeParts) {
    this.#parts = parts;
  }

  async run(options: Abortable): Promise<never> {
    try {
      for (;;) await this.#liveUntilLost(options);
    } finally {
      this.#parts.known.rememberCursor();
      await this.#parts.memory.flush();
    }
  }

  async #liveUntilLost(options: Abortable): Promise<void> {
    const { logger } = this.#parts.options;
    try {
      await this.#live(options);
    } catch (error) {
      if (error instanceof Overtaken) {
        logger.info("beginning again with what is now true", { reason: error.message });
        return;
      }
      if (!(error instanceof LeaseLostError)) throw error;
      logger.warn("lease was lost; taking it again", { reason: error.message });
      this.#lost = error.subnet;
      this.#held = undefined;
    }
  }

  /** From a config to a lost lease, or to when it is overtaken. */
  async #live({ signal }: Abortable): Promise<never> {
    const { options, memory, status } = this.#parts;
    const parts = { ...options, memory, held: this.#held, lost: this.#lost };
    const configured = await whenConfigured(parts, { signal, onFailure: status.waitsFor("a usable network config") });
    const lease = await whenLeased(configured, parts, { signal, onFailure: status.waitsFor("a subnet") });
    await using overlay = configured.prepared.open(lease);
    await using _alive = { [Symbol.asyncDispose]: () => this.#letGo(overlay, { signal }) };
    using _watched = this.#watchThread(overlay);
    const session = new Session(this.#parts, configured, overlay);
    try {
      return await session.run({ signal });
    } finally {
      this.#held = session.lease;
    }
  }

  #watchThread(overlay: Overlay): Disposable | undefined {
    const { liveness, name } = this.#parts.options;
    if (liveness === undefined || overlay.pulse === undefined) return undefined;
    return liveness.watch(named("the packet thread", name), () => overlay.pulse?.() ?? { steps: 0, isDue: false });
  }

  /** What lives in this process goes with the backend: nobody may make it anew before the next one does. */
  async #letGo(overlay: Overlay, { signal }: Abortable): Promise<void> {
    if (overlay.run === undefined || signal.aborted) return;
    const { dataplane } = this.#parts;
    dataplane.want(() => ({ layers: [], spareUnknown: true }));
    await dataplane.attempted({ signal }).catch(() => {}); // asked to stop meanwhile
  }
}
