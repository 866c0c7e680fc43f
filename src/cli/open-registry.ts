import type { NetworkName } from "../lease/lease.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Clock, Milliseconds } from "../lib/clock.ts";
import { UnsupportedError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import type { Registry } from "../store/registry.ts";
import type { StoreOptions } from "./flanneld-flags.ts";

export interface OpenRegistryOptions extends Abortable {
  readonly stateDir: string;
  /** Whose configs count when the etcd API is chosen. */
  readonly networks: readonly NetworkName[];
  readonly renewMargin: Milliseconds;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Opens the store that the options name; what only that one needs is imported only now. */
export async function openRegistry(
  store: StoreOptions,
  { clock, logger, renewMargin, signal }: OpenRegistryOptions,
): Promise<Registry> {
  if (store.kind === "embedded") {
    const { openSqliteRegistry } = await import("../store/sqlite/sqlite-registry.ts");
    return await openSqliteRegistry(store.file, { clock, logger, grace: renewMargin }, { signal });
  }
  throw new UnsupportedError("etcd", "not wired yet");
}
