// Tests of every registry.
import { describe, expect, test } from "vitest";
import { parsePrefix } from "../../ip/prefix.ts";
import { HistoryLostError, StoreUnavailableError } from "../../lease/errors.ts";
import {
  AT_ONCE,
  bySubnet,
  calls,
  claim,
  eventsOf,
  eventually,
  eventuallyNot,
  failure,
  type MakeTest,
  NETWORK,
  OTHERS,
  subnet,
} from "./registry-bench.ts";
import type { RegistryFixture, RegistryHarness } from "./registry-harness.ts";

type Ability<Fixture extends RegistryFixture, Name extends keyof RegistryHarness<Fixture>> = NonNullable<
  RegistryHarness<Fixture>[Name]
>;

/** Registers the tests of what may happen to a registry, as far as the harness can make it happen. */
export function describeMishaps<Fixture extends RegistryFixture>(
  name: string,
  harness: RegistryHarness<Fixture>,
  bench: MakeTest<Fixture>,
): void {
  const { writeEntry, expire, compact, wipe, backup, stop, freeze } = harness;
  describe(`${name}: mishaps`, () => {
    if (writeEntry !== undefined) testEntries(bench, writeEntry);
    if (expire !== undefined) testExpiry(bench, expire);
    if (compact !== undefined) testCompaction(bench, compact);
    if (wipe !== undefined) testWiping(bench, wipe);
    if (backup !== undefined) testRestoring(bench, backup);
    if (stop !== undefined) testStopping(bench, stop);
    if (freeze !== undefined) testSilence(bench, freeze);
  });
}

function testEntries<Fixture extends RegistryFixture>(
  bench: MakeTest<Fixture>,
  writeEntry: Ability<Fixture, "writeEntry">,
): void {
  test(
    "entries that make no sense are logged once and hide nothing else",
    bench(async ({ fixture, registry, options, now, follow, logger }) => {
      const watch = follow(registry, await now());
      await watch.until((batches) => batches.length > 0);
      const good = '{"PublicIP":"192.0.2.7"}';
      const bad: readonly (readonly [key: string, value: string])[] = [
        ["10.5.1.0-24", "not JSON"],
        ["10.5.2.0-24", '{"PublicIP":"2001:db8::1"}'],
        ["10.5.3.0-24", "{}"],
        ["10.5.4.0-24", ""],
        ["10.5.5.0-33", good],
        ["10.5.6.1-24", good],
        ["garbage", good],
        ["10.5.7.0-24", '{"PublicIP":"192.0.2.7","BackendType":1}'],
      ];
      for (const [key, value] of bad) await writeEntry(fixture, NETWORK, key, value);
      await writeEntry(fixture, NETWORK, "10.5.9.0-24", good);
      await registry.createLease(NETWORK, claim(10), options);
      const events = eventsOf(await watch.until((all) => eventsOf(all).length >= 2));
      expect(events).toMatchObject([
        { type: "added", lease: { subnet: subnet(9), isReservation: true } },
        { type: "added", lease: { subnet: subnet(10) } },
      ]);
      for (let round = 0; round < 2; round++) {
        const { leases } = await registry.listLeases(NETWORK, options);
        expect(bySubnet(leases).map((lease) => lease.subnet)).toEqual([subnet(9), subnet(10)]);
      }
      const complaints = logger.lines.filter((line) => line.level === "warn");
      for (const [key] of bad)
        expect(complaints.filter((line) => String(line.fields["key"]).endsWith(key))).toHaveLength(1);
      expect(complaints).toHaveLength(bad.length);
      for (const line of complaints) expect(line.fields["reason"]).toBeTypeOf("string");
    }),
  );

  test(
    "a lease of a dual-stack network of later releases is read, updated and deleted under its key",
    bench(async ({ fixture, registry, options, now, follow }) => {
      const since = await now();
      const value = '{"PublicIP":"192.0.2.7","PublicIPv6":"2001:db8::7","BackendType":"vxlan"}';
      await writeEntry(fixture, NETWORK, "10.5.34.0-24&fc00::-64", value);
      const [lease, ...none] = (await registry.listLeases(NETWORK, options)).leases;
      expect(none).toEqual([]);
      expect(lease).toMatchObject({
        subnet: subnet(34),
        ipv6Subnet: parsePrefix("fc00::/64"),
        isReservation: true,
      });
      if (lease === undefined) throw new Error("nothing listed");
      const updated = await registry.updateLease(NETWORK, lease, lease, options);
      expect((await registry.listLeases(NETWORK, options)).leases).toHaveLength(1);
      await registry.deleteLease(NETWORK, updated, options);
      expect((await registry.listLeases(NETWORK, options)).leases).toEqual([]);
      const events = eventsOf(await follow(registry, since).until((all) => eventsOf(all).length >= 3));
      expect(events.map((event) => event.type)).toEqual(["added", "added", "removed"]);
      expect(events.at(-1)).toEqual({ type: "removed", subnet: subnet(34) });
    }),
  );
}

function testExpiry<Fixture extends RegistryFixture>(
  bench: MakeTest<Fixture>,
  expire: Ability<Fixture, "expire">,
): void {
  test(
    "watchLeases() tells when a lease's time is over",
    bench(async ({ fixture, registry, options, now, follow }) => {
      await registry.createLease(NETWORK, claim(1), options);
      await registry.createLease(NETWORK, claim(2, OTHERS, true), options);
      const watch = follow(registry, await now());
      await watch.until((batches) => batches.length > 0);
      await expire(fixture, NETWORK, subnet(1));
      const events = eventsOf(await watch.until((all) => eventsOf(all).some((event) => event.type === "removed")));
      expect(events.filter((event) => event.type === "removed")).toEqual([{ type: "removed", subnet: subnet(1) }]);
      const { leases } = await registry.listLeases(NETWORK, options);
      expect(leases.map((lease) => lease.subnet)).toEqual([subnet(2)]);
    }),
  );
}

function testCompaction<Fixture extends RegistryFixture>(
  bench: MakeTest<Fixture>,
  compact: Ability<Fixture, "compact">,
): void {
  test(
    "watchLeases() throws HistoryLostError for a cursor before a compaction, and goes on from a new listing",
    bench(async ({ fixture, registry, options, now, follow }) => {
      const since = await now();
      for (let number = 0; number < 3; number++) await registry.createLease(NETWORK, claim(number), options);
      await compact(fixture);
      expect(await follow(registry, since).failure()).toBeInstanceOf(HistoryLostError);
      const listing = await registry.listLeases(NETWORK, options);
      expect(listing.leases).toHaveLength(3);
      expect(listing.cursor.history).toBe(since.history);
      const watch = follow(registry, listing.cursor);
      await watch.until((batches) => batches.length > 0);
      await registry.createLease(NETWORK, claim(3), options);
      expect(eventsOf(await watch.until((all) => eventsOf(all).length > 0))).toHaveLength(1);
    }),
  );
}

function testWiping<Fixture extends RegistryFixture>(bench: MakeTest<Fixture>, wipe: Ability<Fixture, "wipe">): void {
  test(
    "watchLeases() throws HistoryLostError for a cursor from before the store was made anew",
    bench(async ({ fixture, registry, options, follow }) => {
      await registry.createLease(NETWORK, claim(1), options);
      const { cursor } = await registry.listLeases(NETWORK, options);
      await wipe(fixture);
      const listing = await eventually(() => registry.listLeases(NETWORK, options));
      expect(listing.leases).toEqual([]);
      expect(listing.cursor.history !== cursor.history || listing.cursor.index < cursor.index).toBe(true);
      const error = await eventuallyNot(StoreUnavailableError, () => follow(registry, cursor).failure());
      expect(error).toBeInstanceOf(HistoryLostError);
    }),
  );
}

function testRestoring<Fixture extends RegistryFixture>(
  bench: MakeTest<Fixture>,
  backup: Ability<Fixture, "backup">,
): void {
  test(
    "watchLeases() throws HistoryLostError for a cursor that a restored backup has not reached",
    bench(async ({ fixture, registry, options, follow }) => {
      await registry.createLease(NETWORK, claim(1), options);
      const restore = await backup(fixture);
      for (let number = 2; number < 6; number++) await registry.createLease(NETWORK, claim(number), options);
      const { cursor } = await registry.listLeases(NETWORK, options);
      await restore();
      const listing = await eventually(() => registry.listLeases(NETWORK, options));
      expect(listing.leases.map((lease) => lease.subnet)).toEqual([subnet(1)]);
      expect(listing.cursor.history !== cursor.history || listing.cursor.index < cursor.index).toBe(true);
      const error = await eventuallyNot(StoreUnavailableError, () => follow(registry, cursor).failure());
      expect(error).toBeInstanceOf(HistoryLostError);
    }),
  );
}

function testStopping<Fixture extends RegistryFixture>(bench: MakeTest<Fixture>, stop: Ability<Fixture, "stop">): void {
  test(
    "every call throws StoreUnavailableError while the store is away, and works when it is back",
    bench(async ({ fixture, registry, options, now, follow }) => {
      const lease = await registry.createLease(NETWORK, claim(1), options);
      const since = await now();
      const watch = follow(registry, since);
      await watch.until((batches) => batches.length > 0);
      const start = await stop(fixture);
      expect(await watch.failure()).toBeInstanceOf(StoreUnavailableError);
      for (const [call, run] of calls(registry, lease, since))
        expect([call, await failure(run(options))]).toEqual([call, expect.any(StoreUnavailableError)]);
      await start();
      const found = await eventually(() => registry.getLease(NETWORK, subnet(1), options));
      expect(found?.revision).toBe(lease.revision);
      await registry.updateLease(NETWORK, lease, lease, options);
      const resumed = follow(registry, since);
      expect(eventsOf(await resumed.until((all) => eventsOf(all).length > 0))).toHaveLength(1);
    }),
  );
}

function testSilence<Fixture extends RegistryFixture>(
  bench: MakeTest<Fixture>,
  freeze: Ability<Fixture, "freeze">,
): void {
  test(
    "a store that has gone silent is noticed within 15 s, and aborting does not wait for it",
    bench(async ({ fixture, registry, options, now, follow, clock }) => {
      const lease = await registry.createLease(NETWORK, claim(1), options);
      const since = await now();
      const watch = follow(registry, since);
      await watch.until((batches) => batches.length > 0);
      const thaw = await freeze(fixture);
      const before = clock.now();
      for (const [call, run] of calls(registry, lease, since)) {
        const controller = new AbortController();
        const error = failure(run({ signal: controller.signal }));
        await new Promise((resolve) => setTimeout(resolve, 20));
        const asked = performance.now();
        const reason = new Error("stop");
        controller.abort(reason);
        expect([call, await error]).toEqual([call, reason]);
        expect(performance.now() - asked).toBeLessThan(AT_ONCE);
      }
      const call = failure(registry.getConfig(NETWORK, options));
      expect(await watch.failure()).toBeInstanceOf(StoreUnavailableError);
      expect(clock.now() - before).toBeLessThan(16_000);
      expect(await call).toBeInstanceOf(StoreUnavailableError);
      await thaw(); // what was asked meanwhile may still be done now
      await eventually(() => registry.listLeases(NETWORK, options));
    }),
  );
}
