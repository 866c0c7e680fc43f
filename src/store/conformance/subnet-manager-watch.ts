// Tests of every subnet manager.
import { describe, expect, test } from "vitest";
import { formatPrefix } from "../../ip/prefix.ts";
import { continuesHistory } from "../../lease/lease.ts";
import { host, type MakeManagerTest, standing, tellsOf, tellsOfRemoval } from "./subnet-manager-bench.ts";
import type { SubnetManagerFixture, SubnetManagerHarness } from "./subnet-manager-harness.ts";

type Ability<Fixture extends SubnetManagerFixture, Name extends keyof SubnetManagerHarness<Fixture>> = NonNullable<
  SubnetManagerHarness<Fixture>[Name]
>;

/** Registers the tests of watching leases. */
export function describeManagerWatches<Fixture extends SubnetManagerFixture>(
  name: string,
  harness: SubnetManagerHarness<Fixture>,
  bench: MakeManagerTest<Fixture>,
): void {
  describe(`${name}: watch`, () => {
    test(
      "watchLeases() begins with a snapshot, our own lease in it, and goes on with events",
      bench(async ({ manager, network, options, take, configure, follow, second }) => {
        await configure();
        const own = await take(host(1));
        const watch = follow(manager);
        const [snapshot] = await watch.until((updates) => updates.length > 0);
        expect(snapshot).toMatchObject({ type: "snapshot", leases: [{ subnet: own.subnet }] });
        const other = await second();
        const theirs = await take(host(2), { through: other });
        await watch.until(tellsOf(theirs));
        const attributes = { ...theirs.attributes, backendData: "another MAC" };
        const changed = await other.updateLease(network, theirs, attributes, options);
        const updates = await watch.until(tellsOf(changed));
        expect(updates.filter((update) => update.type === "snapshot")).toHaveLength(1);
        expect(updates.at(-1)).toMatchObject({
          type: "events",
          events: [{ type: "added", lease: { attributes: { backendData: "another MAC" } } }],
        });
        expect(standing(updates)).toEqual(
          [`${formatPrefix(own.subnet)} 192.0.2.1`, `${formatPrefix(theirs.subnet)} 192.0.2.2`].toSorted(),
        );
      }),
    );

    test(
      "watchLeases() goes on from a cursor without a snapshot",
      bench(async ({ manager, take, configure, follow, second }) => {
        await configure();
        await take(host(1));
        const [snapshot] = await follow(manager).until((updates) => updates.length > 0);
        const theirs = await take(host(2), { through: await second() });
        const resumed = await follow(manager, snapshot?.cursor).until(tellsOf(theirs));
        expect(resumed.map((update) => update.type)).toEqual(["events"]);
      }),
    );

    test(
      "watchLeases() begins with a snapshot for a cursor of another history",
      bench(async ({ manager, take, configure, follow }) => {
        await configure();
        const own = await take(host(1));
        const since = { history: "of another store", index: 1n };
        const [first] = await follow(manager, since).until(tellsOf(own));
        expect(first?.type).toBe("snapshot");
        expect(continuesHistory(since, first?.cursor ?? since)).toBe(false);
      }),
    );

    const { removeLease, forgetHistory, stop } = harness;
    if (removeLease !== undefined) testRemoval(bench, removeLease);
    if (forgetHistory !== undefined) testForgetting(bench, forgetHistory);
    if (stop !== undefined) testOutage(bench, stop);
  });
}

function testRemoval<Fixture extends SubnetManagerFixture>(
  bench: MakeManagerTest<Fixture>,
  removeLease: Ability<Fixture, "removeLease">,
): void {
  test(
    "watchLeases() tells when a lease is removed",
    bench(async ({ fixture, manager, take, configure, follow, second }) => {
      await configure();
      const theirs = await take(host(2), { through: await second() });
      const watch = follow(manager);
      await watch.until(tellsOf(theirs));
      await removeLease(fixture, theirs.subnet);
      expect(standing(await watch.until(tellsOfRemoval(theirs.subnet)))).toEqual([]);
    }),
  );
}

function testForgetting<Fixture extends SubnetManagerFixture>(
  bench: MakeManagerTest<Fixture>,
  forgetHistory: Ability<Fixture, "forgetHistory">,
): void {
  test(
    "watchLeases() lists again when the history is lost, so that no change is missed",
    bench(async ({ fixture, manager, network, options, take, configure, follow, second }) => {
      await configure();
      const other = await second();
      const theirs = await take(host(2), { through: other });
      const [snapshot] = await follow(manager).until(tellsOf(theirs));
      const attributes = { ...theirs.attributes, backendData: "another MAC" };
      const once = await other.updateLease(network, theirs, theirs.attributes, options);
      const changed = await other.updateLease(network, once, attributes, options);
      await forgetHistory(fixture);
      const [first] = await follow(manager, snapshot?.cursor).until(tellsOf(changed));
      expect(first?.type).toBe("snapshot");
      expect(snapshot && first && continuesHistory(snapshot.cursor, first.cursor)).toBe(true);
    }),
  );
}

function testOutage<Fixture extends SubnetManagerFixture>(
  bench: MakeManagerTest<Fixture>,
  stop: Ability<Fixture, "stop">,
): void {
  test(
    "watchLeases() survives an outage, logged once, and goes on where it was",
    bench(async ({ fixture, manager, take, configure, follow, second, logger }) => {
      await configure();
      const own = await take(host(1));
      const watch = follow(manager);
      await watch.until(tellsOf(own));
      const start = await stop(fixture);
      while (logger.messages("warn").length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
      await start();
      let theirs: Awaited<ReturnType<typeof take>> | undefined;
      while (theirs === undefined)
        theirs = await take(host(2), { through: await second() }).catch(
          () => new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), 50)),
        );
      const updates = await watch.until(tellsOf(theirs));
      // One of events is enough, unless who took the lease was not told so at the first time.
      expect([...new Set(updates.map((update) => update.type))]).toEqual(["snapshot", "events"]);
      expect(updates.filter((update) => update.type === "snapshot")).toHaveLength(1);
      expect(logger.messages("warn")).toHaveLength(1);
      expect(logger.messages("error")).toEqual([]);
    }),
  );
}
