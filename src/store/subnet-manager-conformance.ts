// For tests only.
import { makeManagerTest } from "./conformance/subnet-manager-bench.ts";
import type { SubnetManagerFixture, SubnetManagerHarness } from "./conformance/subnet-manager-harness.ts";
import { describeChoosing, describeHolding } from "./conformance/subnet-manager-leases.ts";
import { describeManagerWatches } from "./conformance/subnet-manager-watch.ts";

/** Registers tests of what the SubnetManager port promises, to be run by each of its implementations. */
export function describeSubnetManager<Fixture extends SubnetManagerFixture>(
  name: string,
  harness: SubnetManagerHarness<Fixture>,
): void {
  const bench = makeManagerTest(harness);
  describeHolding(name, harness, bench);
  if (harness.choosesSubnets) describeChoosing(name, harness, bench);
  describeManagerWatches(name, harness, bench);
}
