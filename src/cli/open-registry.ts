import type { NetworkName } from "../lease/lease.ts";
import type { StoreHealth } from "../lease/store-health.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Clock, Milliseconds } from "../lib/clock.ts";
import type { Logger } from "../lib/logger.ts";
import type { Registry } from "../store/registry.ts";
import type { RegistryOptions } from "./flanneld-store-flags.ts";

export interface OpenRegistryOptions extends Abortable {
  readonly stateDir: string;
  /** Whose configs count when the etcd API is chosen; all: of any network, and of the one without a name. */
  readonly networks: readonly NetworkName[] | "all";
  /** How long an embedded store expires nothing after its start; a command that ends at once has no need to tell. */
  readonly renewMargin?: Milliseconds;
  /** Whether to make an embedded store that is not there; true for a daemon. */
  readonly create?: boolean;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told when the store is away. */
  readonly health?: StoreHealth;
}

/** Opens the store that the options name; what only that one needs is imported only now. */
export async function openRegistry(store: RegistryOptions, options: OpenRegistryOptions): Promise<Registry> {
  const { clock, logger, renewMargin, create = true, signal } = options;
  if (store.kind === "embedded") {
    const { openSqliteRegistry } = await import("../store/sqlite/sqlite-registry.ts");
    const grace = renewMargin === undefined ? {} : { grace: renewMargin };
    return await openSqliteRegistry(store.file, { clock, logger, create, ...grace }, { signal });
  }
  const { openEtcdRegistry } = await import("../store/open-etcd.ts");
  return await openEtcdRegistry(store.etcd, { ...options, api: store.api });
}
