// For tests only.
import type { Prefix } from "../../ip/prefix.ts";
import type { NetworkName } from "../../lease/lease.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Logger } from "../../lib/logger.ts";
import type { Registry } from "../registry.ts";

/** A store of its own for one test, empty at first, and a connection to it. */
export interface RegistryFixture extends AsyncDisposable {
  readonly registry: Registry;
  /** Another connection to the same store, as another host's. The suite disposes of it. */
  openSecond(): Promise<Registry>;
}

/** How the suite gets stores, and what it may do to them; the tests of an ability that is absent are left out. */
export interface RegistryHarness<Fixture extends RegistryFixture> {
  open(options: { readonly logger: Logger }): Promise<Fixture>;
  /** The store's clock, if it is not the system's. */
  readonly clock?: Clock;
  /** Puts a lease entry without TTL, past the registry: `key` is its last part, as `10.5.34.0-24`. */
  readonly writeEntry?: (fixture: Fixture, network: NetworkName, key: string, value: string) => Promise<void>;
  /** Lets the lease's time run out, so that the store itself removes it within 10 s. */
  readonly expire?: (fixture: Fixture, network: NetworkName, subnet: Prefix) => Promise<void>;
  /** Makes the store forget every change until now, leaving its content. */
  readonly compact?: (fixture: Fixture) => Promise<void>;
  /** Makes the store anew: empty, another history. Connections may break, but come back. */
  readonly wipe?: (fixture: Fixture) => Promise<void>;
  /** Keeps the present state; the result goes back to it. */
  readonly backup?: (fixture: Fixture) => Promise<() => Promise<void>>;
  /** Takes the store away, all connections being refused or reset; the result brings it back unchanged. */
  readonly stop?: (fixture: Fixture) => Promise<() => Promise<void>>;
  /** The store accepts and answers nothing, as when it hangs or a cable is cut; the result brings it back. */
  readonly freeze?: (fixture: Fixture) => Promise<() => Promise<void>>;
}
