// Tests of every registry.
import { describe, expect, test } from "vitest";
import { formatPrefix } from "../../ip/prefix.ts";
import { HistoryLostError } from "../../lease/errors.ts";
import {
  AT_ONCE,
  ATTRIBUTES,
  CONFIG,
  calls,
  claim,
  essence,
  eventsOf,
  failure,
  type MakeTest,
  NETWORK,
  OTHERS,
  subnet,
} from "./registry-bench.ts";
import type { RegistryFixture } from "./registry-harness.ts";

/** Registers the tests of a registry's watch. */
export function describeWatches<Fixture extends RegistryFixture>(name: string, bench: MakeTest<Fixture>): void {
  describe(`${name}: watch`, () => {
    test(
      "watchLeases() yields an empty batch once connected",
      bench(async ({ registry, now, follow }) => {
        const since = await now();
        const watch = follow(registry, since);
        const [first] = await watch.until((batches) => batches.length > 0);
        expect(first?.events).toEqual([]);
        expect(first?.cursor.history).toBe(since.history);
        expect(first?.cursor.index).toBeGreaterThanOrEqual(since.index);
      }),
    );

    test(
      "watchLeases() tells of every change after the cursor, in order",
      bench(async ({ registry, options, now, follow, second }) => {
        const before = await registry.createLease(NETWORK, claim(1), options);
        const watch = follow(await second(), await now());
        await watch.until((batches) => batches.length > 0);
        const created = await registry.createLease(NETWORK, claim(2), options);
        const updated = await registry.updateLease(NETWORK, before, { ...before, attributes: OTHERS }, options);
        await registry.deleteLease(NETWORK, created, options);
        const reserved = await registry.createLease(NETWORK, claim(3, OTHERS, true), options);
        const batches = await watch.until((all) => eventsOf(all).length >= 4);
        expect(eventsOf(batches)).toMatchObject([
          { type: "added", lease: { subnet: subnet(2), attributes: ATTRIBUTES, revision: created.revision } },
          { type: "added", lease: { subnet: subnet(1), attributes: OTHERS, revision: updated.revision } },
          { type: "removed", subnet: subnet(2) },
          {
            type: "added",
            lease: { subnet: subnet(3), attributes: OTHERS, isReservation: true, revision: reserved.revision },
          },
        ]);
        expect(batches.at(-1)?.cursor.index).toBeGreaterThanOrEqual(reserved.revision);
      }),
    );

    test(
      "watchLeases() catches up with what changed before it began",
      bench(async ({ registry, options, now, follow }) => {
        const since = await now();
        const created = await registry.createLease(NETWORK, claim(1), options);
        await registry.setConfig(NETWORK, CONFIG, options);
        await registry.deleteLease(NETWORK, created, options);
        const batches = await follow(registry, since).until((all) => eventsOf(all).length >= 2);
        expect(eventsOf(batches)).toMatchObject([
          { type: "added", lease: { subnet: subnet(1) } },
          { type: "removed", subnet: subnet(1) },
        ]);
      }),
    );

    test(
      "watchLeases() can be taken up again from every cursor it gave, without loss or repetition",
      bench(async ({ registry, options, now, follow }) => {
        const since = await now();
        const watch = follow(registry, since);
        await watch.until((batches) => batches.length > 0);
        for (let number = 0; number < 8; number++) {
          await registry.createLease(NETWORK, claim(number), options);
          await registry.createLease("blue", claim(number), options);
          if (number % 3 === 0) await registry.setConfig(NETWORK, CONFIG, options);
        }
        const batches = await watch.until((all) => eventsOf(all).length >= 8);
        const whole = eventsOf(batches).map(essence);
        expect(whole).toHaveLength(8);
        for (const [index, batch] of batches.entries()) {
          const rest = eventsOf(batches.slice(index + 1)).map(essence);
          const last = await registry.createLease(NETWORK, claim(100 + index), options);
          const resumed = await follow(registry, batch.cursor).until((all) =>
            eventsOf(all).some((event) => event.type === "added" && event.lease.revision === last.revision),
          );
          expect(eventsOf(resumed).map(essence).slice(0, rest.length)).toEqual(rest);
          expect(eventsOf(resumed)).toHaveLength(rest.length + index + 1);
        }
      }),
    );

    test(
      "watchLeases() tells of one network only",
      bench(async ({ registry, options, now, follow }) => {
        const networks = ["", "blue", "blue2"];
        for (const network of networks) await registry.setConfig(network, CONFIG, options);
        const watches = await Promise.all(
          networks.map(async (network) => follow(registry, await now(network), network)),
        );
        for (const watch of watches) await watch.until((batches) => batches.length > 0);
        for (const [index, network] of networks.entries()) await registry.createLease(network, claim(index), options);
        for (const network of networks) await registry.createLease(network, claim(9), options);
        for (const [index, watch] of watches.entries()) {
          const batches = await watch.until((all) => eventsOf(all).length >= 2);
          expect(eventsOf(batches)).toMatchObject([
            { type: "added", lease: { subnet: subnet(index) } },
            { type: "added", lease: { subnet: subnet(9) } },
          ]);
        }
      }),
    );

    test(
      "watchLeases() begins in a network that is not there yet",
      bench(async ({ registry, options, now, follow }) => {
        const watch = follow(registry, await now("blue"), "blue");
        await watch.until((batches) => batches.length > 0);
        await registry.createLease("blue", claim(1), options);
        expect(eventsOf(await watch.until((all) => eventsOf(all).length > 0))).toHaveLength(1);
      }),
    );

    test(
      "watchLeases() loses nothing of a burst",
      bench(async ({ registry, options, now, follow, second }) => {
        const watch = follow(registry, await now());
        await watch.until((batches) => batches.length > 0);
        const writer = await second();
        const leases = await Promise.all(
          Array.from({ length: 100 }, (_, number) => writer.createLease(NETWORK, claim(number), options)),
        );
        await Promise.all(leases.slice(0, 50).map((lease) => writer.deleteLease(NETWORK, lease, options)));
        const events = eventsOf(await watch.until((all) => eventsOf(all).length >= 150));
        expect(events).toHaveLength(150);
        const standing = new Set<string>();
        for (const event of events)
          if (event.type === "added") standing.add(formatPrefix(event.lease.subnet));
          else standing.delete(formatPrefix(event.subnet));
        expect([...standing].toSorted()).toEqual(
          leases
            .slice(50)
            .map((lease) => formatPrefix(lease.subnet))
            .toSorted(),
        );
        const revisions = events.flatMap((event) => (event.type === "added" ? [event.lease.revision] : []));
        expect(revisions).toEqual(revisions.toSorted((a, b) => (a < b ? -1 : 1)));
      }),
    );

    test(
      "watchLeases() throws HistoryLostError at once for another history's cursor",
      bench(async ({ registry, now, follow }) => {
        const { index } = await now();
        expect(await follow(registry, { history: "of another store", index }).failure()).toBeInstanceOf(
          HistoryLostError,
        );
      }),
    );

    test(
      "watchLeases() throws HistoryLostError at once for a cursor that is ahead of the store",
      bench(async ({ registry, now, follow }) => {
        const since = await now();
        const ahead = { ...since, index: since.index + 1_000_000n };
        expect(await follow(registry, ahead).failure()).toBeInstanceOf(HistoryLostError);
      }),
    );

    test(
      "every call ends within 100 ms when it is aborted",
      bench(async ({ registry, options, now, follow }) => {
        const lease = await registry.createLease(NETWORK, claim(1), options);
        const since = await now();
        for (const [call, run] of calls(registry, lease, since)) {
          const reason = new Error("stop");
          const before = performance.now();
          expect([call, await failure(run({ signal: AbortSignal.abort(reason) }))]).toEqual([call, reason]);
          expect(performance.now() - before).toBeLessThan(AT_ONCE);
        }
        const watch = follow(registry, since);
        await watch.until((batches) => batches.length > 0);
        const before = performance.now();
        await watch.stop();
        expect(performance.now() - before).toBeLessThan(AT_ONCE);
      }),
    );

    test(
      "watchLeases() may be left in the middle",
      bench(async ({ registry, options, now }) => {
        const since = await now();
        for (let number = 0; number < 3; number++) await registry.createLease(NETWORK, claim(number), options);
        for await (const { events } of registry.watchLeases(NETWORK, since, options)) if (events.length > 0) break;
        expect((await registry.listLeases(NETWORK, options)).leases).toHaveLength(3);
      }),
    );
  });
}
