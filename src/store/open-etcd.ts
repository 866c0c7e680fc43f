import { StoreRefusedError, StoreUnavailableError } from "../lease/errors.ts";
import type { StoreHealth } from "../lease/store-health.ts";
import type { Abortable } from "../lib/abortable.ts";
import { backoff } from "../lib/backoff.ts";
import type { Clock } from "../lib/clock.ts";
import { describeError, InvalidConfigError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import type { EtcdOptions } from "./etcd/options.ts";
import { chooseEtcdApi, type EtcdApi } from "./etcd-api-choice.ts";
import { EtcdApiMemory } from "./etcd-api-memory.ts";
import type { NetworkChoice } from "./etcd-probe.ts";
import type { Registry } from "./registry.ts";

/** Between two attempts to learn what an API holds. */
const ASK_AGAIN = { first: 100, most: 5000 } as const;

export interface OpenEtcdOptions extends Abortable {
  /** Forces the choice, `--etcd-api`. */
  readonly api?: EtcdApi | undefined;
  /** Where the choice is remembered; nowhere if absent. */
  readonly stateDir?: string | undefined;
  /** Any of their configs counts; absent for the unnamed network alone. */
  readonly networks?: NetworkChoice;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told while it is waited for an answer. */
  readonly health?: StoreHealth | undefined;
}

/**
 * The leases in an etcd, by the API that holds flannel's config there. Waits until both have answered definitively, unless a choice
 * is forced or remembered; from then on the choice stands, or, where there is no config yet, from its appearance on.
 * @throws {InvalidConfigError} if both APIs hold leases, {StoreRefusedError}
 */
export async function openEtcdRegistry(options: EtcdOptions, open: OpenEtcdOptions): Promise<Registry> {
  if (open.api !== undefined) return await openApi(open.api, options, open);
  return await new EtcdOpening(options, open).open();
}

async function openApi(api: EtcdApi, options: EtcdOptions, deps: { clock: Clock; logger: Logger }): Promise<Registry> {
  if (api === 2) return new (await import("./etcd-v2/etcd-v2-registry.ts")).EtcdV2Registry(options, deps);
  return new (await import("./etcd-v3/etcd-v3-registry.ts")).EtcdV3Registry(options, deps);
}

class EtcdOpening {
  readonly #options: EtcdOptions;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #networks: NetworkChoice;
  readonly #memory: EtcdApiMemory;
  readonly #signal: AbortSignal;
  readonly #health: StoreHealth | undefined;
  readonly #registries = new Map<EtcdApi, Registry>();
  #isWaiting = false;

  constructor(options: EtcdOptions, { clock, logger, networks, stateDir, signal, health }: OpenEtcdOptions) {
    this.#options = options;
    this.#clock = clock;
    this.#logger = logger;
    this.#networks = networks === undefined || networks.length === 0 ? [""] : networks;
    this.#memory = new EtcdApiMemory(stateDir, logger);
    this.#signal = signal;
    this.#health = health;
  }

  async open(): Promise<Registry> {
    const options = { signal: this.#signal };
    try {
      return (await this.#recall(options)) ?? (await this.#firstChoice(options));
    } catch (error) {
      await this.#closeAllBut(undefined);
      throw error;
    } finally {
      this.#health?.over(this);
    }
  }

  async #recall(options: Abortable): Promise<Registry | undefined> {
    const { clusterId, holdsConfig } = await import("./etcd-probe.ts");
    for (const { api, cluster } of await this.#memory.recall(this.#options.prefix)) {
      const registry = await this.#registry(api);
      const [present, isConfigured] = await Promise.all([
        this.#insist(() => clusterId(registry, options), options),
        this.#insist(() => holdsConfig(registry, this.#networks, options), options),
      ]);
      if (present !== cluster) continue;
      if (!isConfigured) {
        // The config moved, or the cluster was made anew with the same id: what was chosen then says nothing now.
        this.#logger.warn("etcd's remembered API holds no config any more: asking both", { api });
        continue;
      }
      await this.#closeAllBut(registry);
      return registry;
    }
    return undefined;
  }

  async #firstChoice(options: Abortable): Promise<Registry> {
    const chosen = await this.#insist(() => this.#choose(options), options);
    if (chosen !== undefined) return chosen;
    const v3 = await this.#registry(3);
    this.#logger.info("etcd holds no config, neither in its v2 nor in its v3 API: v3 is assumed until one appears", {
      prefix: this.#options.prefix,
    });
    const { UndecidedEtcdRegistry } = await import("./undecided-etcd-registry.ts");
    return new UndecidedEtcdRegistry({
      v3,
      choose: (later) => this.#choose(later),
      takeV3: (later) => this.#take(3, "the config was written there", later).then(() => undefined),
      dispose: () => this.#closeAllBut(undefined),
    });
  }

  /** The registry of the API that is flannel's, if both have answered and one has a config. */
  async #choose(options: Abortable): Promise<Registry | undefined> {
    const { gatewayShowsNoConfig, holdsConfig, holdsLeases, isEtcd2 } = await import("./etcd-probe.ts");
    const v2 = await this.#registry(2);
    const v3HoldsConfig = async () => {
      if (await gatewayShowsNoConfig(this.#options, this.#networks, this.#clock, options)) return false;
      try {
        return await holdsConfig(await this.#registry(3), this.#networks, options);
      } catch (error) {
        if (!(error instanceof StoreUnavailableError) || !(await isEtcd2(this.#options, this.#clock, options)))
          throw error;
        return false;
      }
    };
    const hasConfig = await both(holdsConfig(v2, this.#networks, options), v3HoldsConfig());
    const hasLeases =
      hasConfig.v2 && hasConfig.v3
        ? await both(
            holdsLeases(v2, this.#networks, options),
            holdsLeases(await this.#registry(3), this.#networks, options),
          )
        : { v2: false, v3: false };
    const choice = chooseEtcdApi(
      { hasConfig: hasConfig.v2, hasLeases: hasLeases.v2 },
      { hasConfig: hasConfig.v3, hasLeases: hasLeases.v3 },
    );
    if (choice === "undecided") return undefined;
    if (choice === "conflict")
      throw new InvalidConfigError(
        "--etcd-api",
        `etcd holds a config and leases at ${this.#options.prefix} both in its v2 and in its v3 API: say --etcd-api=2 or --etcd-api=3, the same on all hosts`,
      );
    return await this.#take(choice.api, choice.reason, options);
  }

  async #take(api: EtcdApi, reason: string, options: Abortable): Promise<Registry> {
    const { clusterId } = await import("./etcd-probe.ts");
    const registry = await this.#registry(api);
    const cluster = await clusterId(registry, options);
    this.#logger.info("etcd's API is chosen", { api, reason });
    if (cluster !== undefined) await this.#memory.remember({ cluster, prefix: this.#options.prefix, api });
    await this.#closeAllBut(registry);
    return registry;
  }

  /** Asks until there is an answer; says once that it waits. */
  async #insist<T>(ask: () => Promise<T>, { signal }: Abortable): Promise<T> {
    for (let failures = 1; ; failures++) {
      try {
        return await ask();
      } catch (error) {
        if (!(error instanceof StoreUnavailableError)) throw error;
        if (!this.#isWaiting)
          this.#logger.warn("etcd has not answered yet which of its APIs holds the config", {
            error: describeError(error),
          });
        this.#isWaiting = true;
        this.#health?.away(this, this.#clock.wallClock(), error);
      }
      await this.#clock.sleep(backoff(failures, ASK_AGAIN), { signal });
    }
  }

  async #registry(api: EtcdApi): Promise<Registry> {
    const known = this.#registries.get(api);
    if (known !== undefined) return known;
    const registry = await openApi(api, this.#options, { clock: this.#clock, logger: this.#logger });
    this.#registries.set(api, registry);
    return registry;
  }

  async #closeAllBut(chosen: Registry | undefined): Promise<void> {
    for (const [api, registry] of this.#registries) {
      if (registry === chosen) continue;
      this.#registries.delete(api);
      await registry[Symbol.asyncDispose]();
    }
  }
}

/** What each API answered. @throws whatever one of them throws, a refusal rather than a silence, naming the API */
async function both<T>(v2: Promise<T>, v3: Promise<T>): Promise<{ readonly v2: T; readonly v3: T }> {
  const [two, three] = await Promise.allSettled([v2, v3]);
  if (two.status === "fulfilled" && three.status === "fulfilled") return { v2: two.value, v3: three.value };
  const failures = [two, three].flatMap((result, index) =>
    result.status === "rejected" ? [{ api: index + 2, error: result.reason as unknown }] : [],
  );
  const first = failures.find(({ error }) => error instanceof StoreRefusedError) ?? failures[0];
  if (!(first?.error instanceof StoreRefusedError)) throw first?.error;
  const { endpoint } = first.error;
  const reason = first.error.message.replace(`${endpoint}: `, "");
  throw new StoreRefusedError(endpoint, `${reason} (asked by its v${first.api} API; --etcd-api would ask one only)`, {
    cause: first.error,
  });
}
