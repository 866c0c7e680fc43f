import { backendType } from "../backend/types.ts";
import type { Family } from "../ip/address.ts";
import { ConfigNotFoundError } from "../lease/errors.ts";
import type { NetworkName } from "../lease/lease.ts";
import type { NetworkConfig } from "../lease/network-config.ts";
import type { SubnetManager } from "../lease/subnet-manager.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Clock, Milliseconds } from "../lib/clock.ts";
import { describeError, InvalidConfigError, isAbort } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import { sameUnderlay, type UnderlayInterface } from "./underlay-interface.ts";
import { parseUnderlayMtu } from "./underlay-mtu.ts";

/** How often it is looked whether the network's config was changed; stores have no watch for that. */
const LOOK_EVERY: Milliseconds = 30_000;

/** What a network's life is built on is no longer so: it is to be begun again, with what it holds. Nobody's mistake. */
export class Overtaken extends Error {
  override readonly name = "Overtaken";
}

/** The interface to the other hosts, and how one learns that it is another; the daemon's {@link Underlay}. */
export interface UnderlaySource {
  readonly current: UnderlayInterface;
  /** Resolves once it differs from `seen`. */
  changed(seen: UnderlayInterface, options: Abortable): Promise<void>;
}

/** @throws {Overtaken} when the interface is another, or has another MTU or another address of one of the network's families */
export async function watchUnderlay(
  underlay: UnderlaySource,
  seen: UnderlayInterface,
  families: readonly Family[],
  { signal }: Abortable,
): Promise<never> {
  for (let known = seen; sameUnderlay(seen, known, families); known = underlay.current) {
    await underlay.changed(known, { signal });
    signal.throwIfAborted();
  }
  throw new Overtaken("the interface to the other hosts has changed");
}

export interface ConfigWatchOptions extends Abortable {
  readonly store: Pick<SubnetManager, "networkConfig">;
  readonly network: NetworkName;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random?: () => number;
}

/**
 * A config that is gone or that no host can run with changes nothing, and is complained of once.
 * @throws {Overtaken} when the stored config is another one that works
 */
export async function watchConfig(seen: NetworkConfig, options: ConfigWatchOptions): Promise<never> {
  const { store, network, clock, logger, random = Math.random, signal } = options;
  let complaint = "";
  for (;;) {
    await clock.sleep(LOOK_EVERY * (0.75 + random() / 2), { signal }); // not all hosts at once
    try {
      const config = await store.networkConfig(network, { signal });
      if (!sameConfig(seen, config)) throw new Overtaken("the network's config was changed");
      complaint = "";
    } catch (error) {
      if (isAbort(error, signal) || error instanceof Overtaken) throw error;
      // The store being away is told by those who need it.
      if (!(error instanceof InvalidConfigError || error instanceof ConfigNotFoundError)) continue;
      const reason = describeError(error);
      if (reason !== complaint) logger.warn("the network's config was changed to one that cannot be used", { reason });
      complaint = reason;
    }
  }
}

function sameConfig(a: NetworkConfig, b: NetworkConfig): boolean {
  return canonical(meaning(a)) === canonical(meaning(b));
}

/** Without how it is spelled. @throws {InvalidConfigError} if no host can run with it */
function meaning({ backend, warnings: _, ...config }: NetworkConfig): unknown {
  const options = backendType(backend.type).parseOptions(backend.options);
  return { ...config, type: backend.type, options, mtu: parseUnderlayMtu(backend) };
}

/** Whatever the order of keys and the spelling of what means the same. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) => {
    if (typeof part === "bigint") return String(part);
    if (typeof part !== "object" || part === null || Array.isArray(part)) return part;
    return Object.fromEntries(Object.entries(part).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  });
}
