// For tests only.
import type { Prefix } from "../../ip/prefix.ts";
import type { NetworkName } from "../../lease/lease.ts";
import type { Administration, SubnetManager } from "../../lease/subnet-manager.ts";
import type { Logger } from "../../lib/logger.ts";

/** A store of its own for one test, without a config at first, as one host sees it. */
export interface SubnetManagerFixture extends AsyncDisposable {
  readonly manager: SubnetManager;
  readonly network: NetworkName;
  /** The same store as another host sees it. The suite disposes of it. */
  openSecond(): Promise<SubnetManager>;
  setConfig(text: string): Promise<void>;
}

/** How the suite gets subnet managers, and what it may do to them; the tests of an ability that is absent are left out. */
export interface SubnetManagerHarness<Fixture extends SubnetManagerFixture> {
  open(options: { readonly logger: Logger }): Promise<Fixture>;
  /** Whether hosts choose subnets themselves; in Kubernetes another controller does. */
  readonly choosesSubnets: boolean;
  readonly administration?: (fixture: Fixture) => Administration;
  /** Removes the lease behind the manager's back. */
  readonly removeLease?: (fixture: Fixture, subnet: Prefix) => Promise<void>;
  /** Makes the store forget every change until now, leaving its content. */
  readonly forgetHistory?: (fixture: Fixture) => Promise<void>;
  /** Takes the store away; the result brings it back unchanged. */
  readonly stop?: (fixture: Fixture) => Promise<() => Promise<void>>;
}
