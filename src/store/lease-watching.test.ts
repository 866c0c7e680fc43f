import { describe, expect, test } from "vitest";
import { continuesHistory, type LeaseUpdate } from "../lease/lease.ts";
import { StoreHealth } from "../lease/store-health.ts";
import { FakeClock } from "../lib/fake-clock.ts";
import { RecordingLogger } from "../lib/recording-logger.ts";
import { Follower } from "./conformance/follower.ts";
import { failure } from "./conformance/registry-bench.ts";
import { standing } from "./conformance/subnet-manager-bench.ts";
import { MemoryRegistry } from "./memory/memory-registry.ts";
import { MemoryStore } from "./memory/memory-store.ts";
import type { Registry } from "./registry.ts";
import { RegistrySubnetManager } from "./registry-subnet-manager.ts";

const NETWORK = "";

async function withWatch(
  body: (bench: {
    readonly clock: FakeClock;
    readonly store: MemoryStore;
    readonly registry: MemoryRegistry;
    readonly logger: RecordingLogger;
    readonly health: StoreHealth;
    readonly watch: Follower<LeaseUpdate>;
    /** How often a watch of the registry was begun. */
    readonly begun: () => number;
    readonly put: (number: number, value?: string) => void;
  }) => Promise<void>,
  options: { readonly historyLength?: number; readonly prepare?: (registry: Registry) => void } = {},
): Promise<void> {
  const clock = new FakeClock();
  const store = new MemoryStore({ clock, ...options });
  const logger = new RecordingLogger();
  const registry = new MemoryRegistry(store, { logger });
  options.prepare?.(registry);
  const health = new StoreHealth();
  const manager = new RegistrySubnetManager(registry, { clock, logger, health, random: () => 0 });
  let begun = 0;
  const begin = registry.watchLeases.bind(registry);
  registry.watchLeases = (...parameters) => {
    begun++;
    return begin(...parameters);
  };
  const put = (number: number, value = '{"PublicIP":"192.0.2.1"}') =>
    void store.put(NETWORK, `10.5.${number}.0-24`, value, undefined);
  put(1);
  await using watch = new Follower((signal) => manager.watchLeases(NETWORK, { signal }), 20_000);
  await body({ clock, store, registry, logger, health, watch, begun: () => begun, put });
}

const types = (updates: readonly LeaseUpdate[]) => updates.map((update) => update.type);

describe("watchLeases()", () => {
  test("watchLeases() goes on from where it was after an outage, and logs its start and its end once", () =>
    withWatch(async ({ clock, registry, logger, health, watch, begun, put }) => {
      await watch.until((updates) => updates.length > 0);
      await clock.advance(60_000);
      registry.connection = "down";
      put(2);
      await clock.advance(600_000);
      expect(begun()).toBeLessThan(150);
      expect(begun()).toBeGreaterThan(100);
      put(3);
      expect(health.outage).toMatchObject({ reason: expect.stringContaining("memory") as string });
      registry.connection = "up";
      await clock.advance(5_000);
      expect(health.outage).toBeUndefined();
      expect(types(watch.batches)).toEqual(["snapshot", "events"]);
      expect(standing(watch.batches)).toHaveLength(3);
      expect(logger.messages("warn")).toEqual(["the store is away; leases are kept as they were"]);
      expect(logger.lines.filter((line) => line.level === "info")).toMatchObject([
        { message: "the store is back", fields: { seconds: expect.closeTo(601, -1) } },
      ]);
    }));

  test("watchLeases() tries again within 100 ms after a connection that was good", () =>
    withWatch(async ({ clock, registry, watch, put }) => {
      await watch.until((updates) => updates.length > 0);
      for (let round = 2; round < 12; round++) {
        await clock.advance(60_000);
        registry.connection = "up"; // the former connection is lost
        put(round);
        await clock.advance(100);
        expect(standing(watch.batches)).toHaveLength(round);
      }
    }));

  test("watchLeases() notices silence within 15 s, and goes on", () =>
    withWatch(async ({ clock, registry, watch, put }) => {
      await watch.until((updates) => updates.length > 0);
      registry.connection = "silent";
      put(2);
      await clock.advance(10_000);
      registry.connection = "up";
      await clock.advance(6_000);
      expect(standing(watch.batches)).toHaveLength(2);
    }));

  test("watchLeases() lists again after an outage longer than the history, and tells changed leases too", () =>
    withWatch(
      async ({ clock, registry, watch, put }) => {
        await watch.until((updates) => updates.length > 0);
        registry.connection = "down";
        await clock.advance(1_000);
        put(1, '{"PublicIP":"192.0.2.9"}');
        for (let number = 2; number < 20; number++) put(number);
        registry.connection = "up";
        await clock.advance(5_000);
        expect(types(watch.batches)).toEqual(["snapshot", "snapshot"]);
        expect(standing(watch.batches)).toHaveLength(19);
        expect(standing(watch.batches)[0]).toBe("10.5.1.0/24 192.0.2.9");
        const [before, after] = watch.batches;
        expect(before && after && continuesHistory(before.cursor, after.cursor)).toBe(true);
      },
      { historyLength: 10 },
    ));

  test.each([
    ["made anew", (store: MemoryStore) => store.wipe()],
    ["emptied under the same id", (store: MemoryStore) => store.wipe({ sameHistory: true })],
  ])("watchLeases() gives a snapshot that does not continue the history of a store that was %s", (_, wipe) =>
    withWatch(async ({ clock, store, watch }) => {
      await watch.until((updates) => updates.length > 0);
      wipe(store);
      await clock.advance(1_000);
      expect(types(watch.batches)).toEqual(["snapshot", "snapshot"]);
      expect(standing(watch.batches)).toEqual([]);
      const [before, after] = watch.batches;
      expect(before && after && continuesHistory(before.cursor, after.cursor)).toBe(false);
    }),
  );

  test("watchLeases() gives a snapshot of a restored backup that does not continue the history", () =>
    withWatch(async ({ clock, store, watch, put }) => {
      await watch.until((updates) => updates.length > 0);
      const backup = store.backup();
      put(2);
      put(3);
      await clock.advance(1_000);
      store.restore(backup);
      await clock.advance(1_000);
      expect(types(watch.batches)).toEqual(["snapshot", "events", "snapshot"]);
      const [, before, after] = watch.batches;
      expect(before && after && continuesHistory(before.cursor, after.cursor)).toBe(false);
    }));

  test("watchLeases() says once that it is refused, tries seldom, and goes on when the password is right again", () =>
    withWatch(async ({ clock, registry, logger, watch, begun, put }) => {
      await watch.until((updates) => updates.length > 0);
      registry.connection = "refused";
      await clock.advance(600_000);
      expect(begun()).toBeLessThan(90);
      expect(logger.messages("error")).toHaveLength(1);
      put(2);
      registry.connection = "up";
      await clock.advance(10_000);
      expect(standing(watch.batches)).toHaveLength(2);
      expect(logger.messages("info")).toEqual(["the store is back"]);
    }));

  test("watchLeases() waits for a store that is away from the beginning", async () => {
    const clock = new FakeClock();
    const logger = new RecordingLogger();
    const registry = new MemoryRegistry(new MemoryStore({ clock }), { logger });
    registry.connection = "down";
    const manager = new RegistrySubnetManager(registry, { clock, logger });
    await using watch = new Follower((signal) => manager.watchLeases(NETWORK, { signal }), 20_000);
    await clock.advance(60_000);
    registry.connection = "up";
    await clock.advance(5_000);
    expect(types(watch.batches)).toEqual(["snapshot"]);
    expect([logger.messages("warn").length, logger.messages("info").length]).toEqual([1, 1]);
  });

  test("watchLeases() does not spin if every watch says at once that its history is lost", () =>
    withWatch(
      async ({ clock, watch }) => {
        await clock.advance(60_000);
        for (let turn = 0; turn < 200; turn++) await clock.advance(0);
        expect(watch.batches.length).toBeLessThan(30);
        expect(watch.batches.length).toBeGreaterThan(5);
      },
      {
        prepare(registry) {
          const list = registry.listLeases.bind(registry);
          registry.listLeases = async (...parameters) => {
            const { leases } = await list(...parameters);
            return { leases, cursor: { history: "another member's", index: 1n } };
          };
        },
      },
    ));

  test("watchLeases() does not spin if every watch ends at once", () =>
    withWatch(
      async ({ clock, begun }) => {
        await clock.advance(60_000);
        expect(begun()).toBeLessThan(30);
        expect(begun()).toBeGreaterThan(5);
      },
      {
        prepare(registry) {
          registry.watchLeases = async function* (_, since) {
            yield { events: [], cursor: since };
          };
        },
      },
    ));

  test("watchLeases() ends at once by its signal while it waits for a store that is away", () =>
    withWatch(async ({ clock, registry, watch }) => {
      await watch.until((updates) => updates.length > 0);
      registry.connection = "down";
      await clock.advance(20_000);
      await watch.stop();
      expect(clock.sleeping).toBe(0);
    }));

  test("watchLeases() throws what is no failure of the store", async () => {
    const clock = new FakeClock();
    const logger = new RecordingLogger();
    const registry = new MemoryRegistry(new MemoryStore({ clock }), { logger });
    const bug = new TypeError("undefined is not a function");
    registry.listLeases = () => Promise.reject(bug);
    const manager = new RegistrySubnetManager(registry, { clock, logger });
    const watch = manager.watchLeases(NETWORK, { signal: new AbortController().signal });
    expect(await failure(watch[Symbol.asyncIterator]().next())).toBe(bug);
  });
});
