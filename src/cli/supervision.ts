import { sendDatagram } from "../kernel/datagram.ts";
import { StoreHealth } from "../lease/store-health.ts";
import type { Abortable } from "../lib/abortable.ts";
import { systemClock } from "../lib/clock.ts";
import type { Logger } from "../lib/logger.ts";
import { Scope } from "../lib/scope.ts";
import { type HealthAddress, serveHealth } from "../operate/health-server.ts";
import { Liveness } from "../operate/liveness.ts";
import { ServiceManager } from "../operate/service-manager.ts";
import { StatusLine } from "../operate/status-line.ts";
import { runWatchdog, takeWatchdogTimeout } from "../operate/watchdog.ts";

/** What stands between us and the service manager, and whoever asks how we are: what they are told, and by whom it is found out. */
export class Supervision implements AsyncDisposable {
  readonly manager: ServiceManager;
  readonly liveness = new Liveness();
  readonly health: StoreHealth;
  readonly #line: StatusLine;
  readonly #scope: Scope;
  #isReady = () => false;

  /** Begins at once. @param env variables that are meant for this process only are removed from it @param health where we may be asked */
  constructor(
    env: Record<string, string | undefined>,
    health: HealthAddress | undefined,
    { signal, logger }: Abortable & { readonly logger: Logger },
  ) {
    const clock = systemClock;
    const timeout = takeWatchdogTimeout(env, process.pid);
    this.manager = new ServiceManager({ socket: env["NOTIFY_SOCKET"], send: sendDatagram, logger });
    this.#line = new StatusLine({ manager: this.manager, clock });
    this.health = new StoreHealth(this.#line.changed);
    this.describe(() => "Starting.");
    this.#scope = new Scope(signal);
    const stopping = () => this.manager.stopping();
    signal.addEventListener("abort", stopping, { once: true });
    this.#scope.spawn((signal) => this.#line.run({ signal }));
    if (timeout !== undefined && this.manager.isThere) {
      const { manager, liveness } = this;
      this.#scope.spawn((signal) => runWatchdog({ timeout, liveness, manager, clock, logger, signal }));
    }
    if (health !== undefined) {
      const { liveness } = this;
      const isReady = () => this.#isReady();
      this.#scope.spawn((signal) => serveHealth({ address: health, liveness, isReady, clock, logger, signal }));
    }
  }

  /**
   * Has the service manager's line say from now on what this says, and whether the store is away.
   * @param isReady whether what we are there for is done at present
   */
  describe(what: () => string, isReady: () => boolean = () => false): void {
    this.#isReady = isReady;
    this.#line.set(() => {
      const { outage } = this.health;
      if (outage === undefined) return what();
      return `${what()} The store is away since ${outage.since.toISOString().slice(0, 19)}Z: ${outage.reason}`;
    });
  }

  /** What `describe()` was given says something else now, perhaps. */
  changed(): void {
    this.#line.changed();
  }

  /** What we are there for is done. */
  ready(): void {
    if (!this.manager.isThere) return;
    this.#line.tell(); // first, so that nobody reads beside "active" that we are starting
    this.manager.ready();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope[Symbol.asyncDispose]();
  }
}
