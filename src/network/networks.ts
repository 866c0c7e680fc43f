import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { RouteClaim } from "../cloud/cloud.ts";
import { formatClaim } from "../cloud/former-claim.ts";
import type { NetworkName } from "../lease/lease.ts";
import type { NetworkDirectory } from "../lease/network-directory.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { BackoffRange } from "../lib/backoff.ts";
import { backoff } from "../lib/backoff.ts";
import type { Milliseconds } from "../lib/clock.ts";
import { describeError, isAbort } from "../lib/errors.ts";
import { Scope } from "../lib/scope.ts";
import type { Handover } from "../operate/handover.ts";
import { HostStateFile, NO_STATE } from "./host-state.ts";
import { runNetwork } from "./network.ts";
import { NetworkClaims } from "./network-claims.ts";
import type { NetworkOptions } from "./network-options.ts";
import { type NetworkStatus, STARTING } from "./network-status.ts";
import { retire } from "./retire.ts";
import { retireClaim } from "./retire-claims.ts";

/** After a failure of ours, which ought not to be. */
const AGAIN: BackoffRange = { first: 1_000, most: 60_000 };

export interface NetworksOptions
  extends Omit<NetworkOptions, "name" | "subnetFile" | "state" | "claims" | "keeper" | "onReady" | "onStatus"> {
  /** Those to join, whether they are there yet or not; with a directory, the only ones allowed, or all if there are none. */
  readonly names: readonly NetworkName[];
  /** Says which networks come and go, if that is to be followed. */
  readonly directory?: NetworkDirectory | undefined;
  /** `<name>.env` for each network. */
  readonly subnetDir: string;
  readonly stateDir: string;
  /** What takes a network's descriptors to the next daemon. */
  readonly openKeeper: (network: NetworkName) => Handover;
  /** Told whenever a network is another way than before; undefined once it was removed. */
  readonly onStatus?: (network: NetworkName, status: (() => NetworkStatus) | undefined) => void;
}

/**
 * Several networks on one host, each its own life: one that is broken, missing or slow holds up no other, and one whose config appears
 * later is joined then. Ends only by the signal.
 */
export async function runNetworks(options: NetworksOptions, { signal }: Abortable): Promise<void> {
  await using scope = new Scope(signal);
  const lives = new NetworkLives(options, scope);
  for (const name of options.names) lives.begin(name);
  const { directory } = options;
  if (directory !== undefined) scope.spawn((signal) => lives.follow(directory, { signal }));
  await scope.join();
}

class NetworkLives {
  readonly #options: NetworksOptions;
  readonly #scope: Scope;
  readonly #claims = new NetworkClaims();
  readonly #lives = new Map<NetworkName, { readonly stop: AbortController; readonly ended: Promise<void> }>();
  readonly #refused = new Set<NetworkName>();

  constructor(options: NetworksOptions, scope: Scope) {
    this.#options = options;
    this.#scope = scope;
  }

  /** Only an event ends a network: a listing without it may be that of a store that was restored or addressed wrongly. */
  async follow(directory: NetworkDirectory, { signal }: Abortable): Promise<void> {
    for await (const update of directory.watchNetworks({ signal })) {
      if (update.type === "snapshot") update.networks.forEach((name) => this.#allow(name));
      else
        for (const { type, network } of update.events)
          if (type === "added") this.#allow(network);
          else await this.#end(network, { signal });
    }
  }

  begin(name: NetworkName): void {
    if (this.#lives.has(name)) return;
    const stop = new AbortController();
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    this.#lives.set(name, { stop, ended });
    this.#options.onStatus?.(name, () => STARTING);
    this.#scope.spawn(async (signal) => {
      try {
        await liveOn(name, this.#options, this.#claims, { signal: AbortSignal.any([signal, stop.signal]) });
      } catch (error) {
        if (!stop.signal.aborted) throw error;
      } finally {
        resolve();
      }
    });
  }

  #allow(name: NetworkName): void {
    const { names, logger } = this.#options;
    if (!NETWORK_NAME.test(name)) return;
    if (names.length === 0 || names.includes(name)) return this.begin(name);
    if (!this.#refused.has(name)) logger.info("network is not one of --networks and is not joined", { network: name });
    this.#refused.add(name);
  }

  async #end(name: NetworkName, { signal }: Abortable): Promise<void> {
    const life = this.#lives.get(name);
    if (life === undefined) return;
    life.stop.abort(new DOMException(`network ${name} was removed`, "AbortError"));
    await life.ended;
    await dismantle(name, this.#options, { signal });
    this.#lives.delete(name);
    this.#options.onStatus?.(name, undefined);
  }
}

/** What can be part of a file's name. */
const NETWORK_NAME = /^[A-Za-z0-9_][\w.-]{0,200}$/;

/** Removes what the network has left on this host: device, routes, file. */
async function dismantle(name: NetworkName, options: NetworksOptions, { signal }: Abortable): Promise<void> {
  const { kernel, cloud, stateDir, subnetDir, clock, openKeeper } = options;
  const logger = options.logger.child({ network: name });
  const subnetFile = join(subnetDir, `${name}.env`);
  await rm(subnetFile, { force: true });
  await using keeper = openKeeper(name);
  await keeper.keep(new Map(), { signal });
  const file = new HostStateFile(stateDir, subnetFile, logger);
  const state = await file.read();
  const { networks } = state;
  const claims: RouteClaim[] = [];
  for (const claim of state.claims)
    try {
      await retireClaim(cloud, claim, {
        logger,
        signal: AbortSignal.any([signal, AbortSignal.timeout(LONGEST_CLAIM)]),
      });
    } catch (error) {
      if (isAbort(error, signal)) throw error;
      claims.push(claim);
      logger.warn("routes of the network stay in the cloud's table; flannel cleanup removes them", {
        routes: formatClaim(claim),
        reason: describeError(error),
      });
    }
  const rules = options.filters?.firewall.leftovers({ others: [], allOthers: false, ours: networks });
  for (let attempts = 1; attempts <= MOST_ATTEMPTS; attempts++) {
    if (await retire(kernel, { ...state, rules }, { logger, signal })) {
      await file.write({ ...NO_STATE, claims });
      logger.info("network was removed, and all of it from this host");
      return;
    }
    await clock.sleep(backoff(attempts, AGAIN), { signal });
  }
}

/** A cloud that answers slowly keeps other networks from coming and going no longer than this. */
const LONGEST_CLAIM: Milliseconds = 30_000;

/** Then what is left is told in the log, and the next start of the network takes it over. */
const MOST_ATTEMPTS = 5;

async function liveOn(
  name: NetworkName,
  options: NetworksOptions,
  claims: NetworkClaims,
  { signal }: Abortable,
): Promise<never> {
  const { subnetDir, stateDir, openKeeper, onStatus, names: _names, directory: _directory, ...shared } = options;
  const logger = options.logger.child({ network: name });
  const subnetFile = join(subnetDir, `${name}.env`);
  for (let failures = 1; ; failures++) {
    try {
      await using keeper = openKeeper(name);
      const state = new HostStateFile(stateDir, subnetFile, logger);
      const onReady = () => void keeper.ready({ signal }).catch(() => {}); // rejects only by the signal
      await runNetwork(
        {
          ...shared,
          name,
          subnetFile,
          state,
          claims,
          keeper,
          logger,
          onReady,
          onStatus: (status) => onStatus?.(name, status),
        },
        { signal },
      );
    } catch (error) {
      if (isAbort(error, signal)) throw error;
      const reason = describeError(error);
      onStatus?.(name, () => ({ phase: "waiting", what: "another try after a failure", reason }));
      logger.error("this network failed; the others go on, and it is tried again", {
        error,
        stack: error instanceof Error ? error.stack : undefined,
      });
    } finally {
      claims.release(name);
    }
    await options.clock.sleep(backoff(failures, AGAIN), { signal });
  }
}
