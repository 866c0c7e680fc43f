// For tests only.

import { makeTest } from "./conformance/registry-bench.ts";
import { describeConfigs } from "./conformance/registry-config.ts";
import { describeFamilies } from "./conformance/registry-families.ts";
import type { RegistryFixture, RegistryHarness } from "./conformance/registry-harness.ts";
import { describeLeases } from "./conformance/registry-leases.ts";
import { describeMishaps } from "./conformance/registry-mishaps.ts";
import { describeWatches } from "./conformance/registry-watch.ts";

/** Registers tests of everything that the Registry port promises, to be run by each of its implementations. */
export function describeRegistry<Fixture extends RegistryFixture>(
  name: string,
  harness: RegistryHarness<Fixture>,
): void {
  const bench = makeTest(harness);
  describeConfigs(name, bench);
  describeLeases(name, bench);
  describeFamilies(name, bench);
  describeWatches(name, bench);
  describeMishaps(name, harness, bench);
}
