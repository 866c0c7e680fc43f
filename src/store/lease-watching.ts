import { HistoryLostError, StoreUnavailableError } from "../lease/errors.ts";
import type { Cursor, LeaseUpdate, NetworkName } from "../lease/lease.ts";
import { Outage } from "../lease/outage.ts";
import type { StoreHealth } from "../lease/store-health.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Clock } from "../lib/clock.ts";
import type { Logger } from "../lib/logger.ts";
import type { LeaseListing, Registry } from "./registry.ts";

export interface LeaseWatchingParts {
  readonly registry: Registry;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random: () => number;
  /** Told when the store is away. */
  readonly health?: StoreHealth | undefined;
}

export interface FollowOptions extends Abortable {
  readonly since?: Cursor | undefined;
  /** A listing to begin with, instead of making one. */
  readonly listed?: LeaseListing | undefined;
}

/** As SubnetManager.watchLeases(): a registry's watch that survives everything but the signal. */
export async function* followLeases(
  parts: LeaseWatchingParts,
  network: NetworkName,
  { signal, since, listed }: FollowOptions,
): AsyncIterable<LeaseUpdate> {
  const { registry } = parts;
  using outage = new Outage({ ...parts, store: () => registry.name });
  let cursor = since;
  let known = since === undefined ? listed : undefined; // a listing from before a long watch is no news
  for (;;) {
    signal.throwIfAborted();
    try {
      if (cursor === undefined) {
        const listing = known ?? (await registry.listLeases(network, { signal }));
        known = undefined;
        cursor = listing.cursor;
        yield { type: "snapshot", leases: listing.leases, cursor };
      }
      for await (const batch of registry.watchLeases(network, cursor, { signal })) {
        outage.over();
        cursor = batch.cursor;
        if (batch.events.length > 0) yield { type: "events", events: batch.events, cursor };
      }
      throw new StoreUnavailableError(registry.name, "the watch has ended");
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof HistoryLostError) cursor = undefined;
      await outage.wait(error, { signal });
    }
  }
}
