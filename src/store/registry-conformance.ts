// Tests, but of no store of their own: what every Registry must do. Imported by tests only.
import { describe, expect, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { formatPrefix, type Prefix, parsePrefix } from "../ip/prefix.ts";
import {
  ConfigNotFoundError,
  HistoryLostError,
  LeaseLostError,
  LeaseTakenError,
  StoreUnavailableError,
} from "../lease/errors.ts";
import { type Cursor, LEASE_TTL, type Lease, type LeaseAttributes, type NetworkName } from "../lease/lease.ts";
import { type Clock, systemClock } from "../lib/clock.ts";
import type { Logger } from "../lib/logger.ts";
import { RecordingLogger } from "../lib/recording-logger.ts";
import { ConfigConflictError, type LeaseClaim, type LeaseEvents, type Registry } from "./registry.ts";
import { Follower } from "./watch-follower.ts";

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

const NETWORK = "";
const ATTRIBUTES: LeaseAttributes = {
  publicIP: parseAddress("192.0.2.1"),
  backendType: "vxlan",
  backendData: { VtepMAC: "66:72:44:0d:7e:1a" },
};
const OTHERS: LeaseAttributes = { publicIP: parseAddress("192.0.2.2"), backendType: "host-gw" };
const CONFIG = '{ "Network": "10.5.0.0/16",\n  "Backend": {"Type": "vxlan"} }\n';
/** Ample for a real server on a slow machine; a store that needs it at all is broken. */
const PATIENCE = 20_000;

const subnet = (number: number) => parsePrefix(`10.5.${number}.0/24`);
const claim = (number: number, attributes = ATTRIBUTES, isReservation = false): LeaseClaim => ({
  subnet: subnet(number),
  attributes,
  isReservation,
});

/** Registers the tests of everything the Registry port promises. */
export function describeRegistry<Fixture extends RegistryFixture>(
  name: string,
  harness: RegistryHarness<Fixture>,
): void {
  const clock = harness.clock ?? systemClock;
  const logger = new RecordingLogger();

  /** What one test works with. */
  interface Bench {
    readonly fixture: Fixture;
    readonly registry: Registry;
    readonly signal: AbortSignal;
    readonly options: { readonly signal: AbortSignal };
    readonly second: () => Promise<Registry>;
    readonly follow: (registry: Registry, since: Cursor, network?: NetworkName) => Follower<LeaseEvents>;
    /** The cursor of an empty listing. */
    readonly now: (network?: NetworkName) => Promise<Cursor>;
  }

  function check(title: string, body: (bench: Bench) => Promise<void>, timeout = 2 * PATIENCE): void {
    test(title, { timeout }, async () => {
      logger.clear();
      await using cleanup = new AsyncDisposableStack();
      const controller = new AbortController();
      const fixture = cleanup.use(await harness.open({ logger }));
      cleanup.defer(() => controller.abort(new Error("the test is over")));
      const { signal } = controller;
      const { registry } = fixture;
      await body({
        fixture,
        registry,
        signal,
        options: { signal },
        second: async () => cleanup.use(await fixture.openSecond()),
        follow: (watched, since, network = NETWORK) =>
          cleanup.use(new Follower((stop) => watched.watchLeases(network, since, { signal: stop }), PATIENCE)),
        now: async (network = NETWORK) => (await registry.listLeases(network, { signal })).cursor,
      });
    });
  }

  describe(`${name}: config`, () => {
    check("getConfig() throws ConfigNotFoundError naming the key if there is none", async ({ registry, options }) => {
      const error = await failure(registry.getConfig("blue", options));
      expect(error).toBeInstanceOf(ConfigNotFoundError);
      expect((error as ConfigNotFoundError).key).toContain("blue/config");
    });

    check("getConfig() gives the very text that setConfig() stored", async ({ registry, options, second }) => {
      for (const text of [CONFIG, '{"Network":"10.6.0.0/16","Note":"a+b&c=d %20 é\u{1f9f6}\\n"}']) {
        await registry.setConfig(NETWORK, text, options);
        expect((await registry.getConfig(NETWORK, options)).text).toBe(text);
        expect((await (await second()).getConfig(NETWORK, options)).text).toBe(text);
      }
    });

    check("setConfig() with an expected revision stores only over that one", async ({ registry, options }) => {
      const set = (text: string, expected: bigint) => registry.setConfig(NETWORK, text, { ...options, expected });
      expect(await failure(set("{}", 1n))).toBeInstanceOf(ConfigConflictError);
      await set(CONFIG, 0n);
      expect(await failure(set("{}", 0n))).toBeInstanceOf(ConfigConflictError);
      const first = await registry.getConfig(NETWORK, options);
      await registry.setConfig(NETWORK, "{}", options);
      expect(await failure(set(CONFIG, first.revision))).toBeInstanceOf(ConfigConflictError);
      const second = await registry.getConfig(NETWORK, options);
      expect(second.text).toBe("{}");
      expect(second.revision).toBeGreaterThan(first.revision);
      await set(CONFIG, second.revision);
      expect((await registry.getConfig(NETWORK, options)).text).toBe(CONFIG);
    });

    check("setConfig() lets one of two editors win", async ({ registry, options, second }) => {
      const registries = [registry, await second()];
      await registry.setConfig(NETWORK, CONFIG, options);
      const { revision: expected } = await registry.getConfig(NETWORK, options);
      const results = await Promise.allSettled(
        registries.map((each, index) => each.setConfig(NETWORK, `{"editor":${index}}`, { ...options, expected })),
      );
      const lost = results.filter((result) => result.status === "rejected");
      expect(lost.map((result) => result.reason)).toEqual([expect.any(ConfigConflictError)]);
    });

    check("setConfig() of one network leaves the others alone", async ({ registry, options }) => {
      const networks = ["", "blue", "blue2"];
      for (const network of networks) await registry.setConfig(network, `{"of":"${network}"}`, options);
      for (const network of networks)
        expect((await registry.getConfig(network, options)).text).toBe(`{"of":"${network}"}`);
    });
  });

  describe(`${name}: leases`, () => {
    check("listLeases() is empty for a network that is not there", async ({ registry, options }) => {
      for (const network of [NETWORK, "blue"]) {
        const listing = await registry.listLeases(network, options);
        expect(listing.leases).toEqual([]);
        expect(listing.cursor.history).not.toBe("");
      }
    });

    check(
      "createLease() makes a lease of 24 hours that every connection sees",
      async ({ registry, options, second }) => {
        const created = await registry.createLease(NETWORK, claim(34), options);
        expect(created).toMatchObject({ subnet: subnet(34), attributes: ATTRIBUTES, isReservation: false });
        for (const each of [registry, await second()]) {
          const found = await each.getLease(NETWORK, subnet(34), options);
          expect(found).toMatchObject({ subnet: subnet(34), attributes: ATTRIBUTES, revision: created.revision });
          const listed = await each.listLeases(NETWORK, { ...options, withExpirations: true });
          expect(listed.leases).toHaveLength(1);
          expect(listed.leases[0]).toMatchObject({ attributes: ATTRIBUTES, isReservation: false });
          expect(listed.leases[0]?.revision).toBe(created.revision);
          expect(listed.cursor.index).toBeGreaterThanOrEqual(created.revision);
          for (const lease of [created, found, listed.leases[0]]) expectTtl(lease);
        }
      },
    );

    check("createLease() of a reservation makes one without an end", async ({ registry, options }) => {
      const created = await registry.createLease(NETWORK, claim(34, ATTRIBUTES, true), options);
      const plain = await registry.listLeases(NETWORK, options);
      const detailed = await registry.listLeases(NETWORK, { ...options, withExpirations: true });
      const found = await registry.getLease(NETWORK, subnet(34), options);
      for (const lease of [created, plain.leases[0], detailed.leases[0], found]) {
        expect(lease?.isReservation).toBe(true);
        expect(lease?.expiresAt).toBeUndefined();
        expect(lease?.expiration).toBeUndefined();
      }
    });

    check("listLeases() tells leases from reservations even without expirations", async ({ registry, options }) => {
      await registry.createLease(NETWORK, claim(1), options);
      await registry.createLease(NETWORK, claim(2, OTHERS, true), options);
      const { leases } = await registry.listLeases(NETWORK, options);
      expect(bySubnet(leases).map((lease) => lease.isReservation)).toEqual([false, true]);
    });

    check("createLease() keeps whatever JSON a backend writes", async ({ registry, options }) => {
      const backendData = {
        text: 'é "quoted" \\ & + % = \n \u{1f9f6}',
        list: [1, -2.5, true, null, { deep: [] }],
        "": "",
      };
      for (const [index, data] of [backendData, "text", 0, false, []].entries()) {
        const attributes = { publicIP: ATTRIBUTES.publicIP, backendType: "extension", backendData: data };
        await registry.createLease(NETWORK, claim(index, attributes), options);
        expect((await registry.getLease(NETWORK, subnet(index), options))?.attributes).toEqual(attributes);
      }
    });

    check("createLease() keeps both families where the store's format has them", async ({ registry, options }) => {
      const attributes = { ...ATTRIBUTES, publicIPv6: parseAddress("2001:db8::1"), backendV6Data: { VNI: 1 } };
      await registry.createLease(NETWORK, claim(1, attributes), options);
      const found = await registry.getLease(NETWORK, subnet(1), options);
      const { publicIPv6: _, ...rest } = attributes;
      expect(found?.attributes).toEqual(registry.leaseFormat === "later" ? attributes : rest);
    });

    check("createLease() throws LeaseTakenError and leaves the holder alone", async ({ registry, options, second }) => {
      const held = await registry.createLease(NETWORK, claim(34), options);
      for (const isReservation of [false, true]) {
        const error = await failure((await second()).createLease(NETWORK, claim(34, OTHERS, isReservation), options));
        expect(error).toBeInstanceOf(LeaseTakenError);
        expect((error as LeaseTakenError).subnet).toEqual(subnet(34));
      }
      const found = await registry.getLease(NETWORK, subnet(34), options);
      expect(found).toMatchObject({ attributes: ATTRIBUTES, revision: held.revision, isReservation: false });
    });

    check("createLease() lets exactly one of two connections win", async ({ registry, options, second }) => {
      const registries = [registry, await second()];
      for (let round = 1; round <= 10; round++) {
        const results = await Promise.allSettled(
          registries.map((each, index) =>
            each.createLease(NETWORK, claim(round, index === 0 ? ATTRIBUTES : OTHERS), options),
          ),
        );
        const won = results.filter((result) => result.status === "fulfilled");
        const lost = results.filter((result) => result.status === "rejected");
        expect(lost.map((result) => result.reason)).toEqual([expect.any(LeaseTakenError)]);
        const found = await registry.getLease(NETWORK, subnet(round), options);
        expect(found?.attributes).toEqual(won[0]?.value.attributes);
      }
    });

    check("updateLease() renews the lease and changes what it says", async ({ registry, options }) => {
      const created = await registry.createLease(NETWORK, claim(34), options);
      const updated = await registry.updateLease(
        NETWORK,
        created,
        { attributes: OTHERS, isReservation: false },
        options,
      );
      expect(updated).toMatchObject({ subnet: subnet(34), attributes: OTHERS, isReservation: false });
      expect(updated.revision).toBeGreaterThan(created.revision);
      const found = await registry.getLease(NETWORK, subnet(34), options);
      expect(found).toMatchObject({ attributes: OTHERS, revision: updated.revision });
      for (const lease of [updated, found]) expectTtl(lease);
      expect((await registry.listLeases(NETWORK, options)).leases).toHaveLength(1);
    });

    check("updateLease() takes a lease from a plain listing", async ({ registry, options }) => {
      await registry.createLease(NETWORK, claim(34), options);
      const [listed] = (await registry.listLeases(NETWORK, options)).leases;
      if (listed === undefined) throw new Error("nothing listed");
      const updated = await registry.updateLease(NETWORK, listed, { ...listed, attributes: OTHERS }, options);
      const again = await registry.updateLease(NETWORK, updated, updated, options);
      expect(again.revision).toBeGreaterThan(updated.revision);
      expectTtl(await registry.getLease(NETWORK, subnet(34), options));
    });

    check("updateLease() makes a lease a reservation and a reservation a lease", async ({ registry, options }) => {
      let lease = await registry.createLease(NETWORK, claim(34), options);
      for (const isReservation of [true, true, false, true]) {
        lease = await registry.updateLease(NETWORK, lease, { attributes: ATTRIBUTES, isReservation }, options);
        const found = await registry.getLease(NETWORK, subnet(34), options);
        for (const each of [lease, found]) {
          expect(each?.isReservation).toBe(isReservation);
          if (isReservation) expect(each?.expiresAt).toBeUndefined();
          else expectTtl(each);
        }
      }
    });

    check(
      "updateLease() throws LeaseLostError if another wrote it, and changes nothing",
      async ({ registry, options, second }) => {
        const created = await registry.createLease(NETWORK, claim(34), options);
        const theirs = await (await second()).updateLease(
          NETWORK,
          created,
          { ...created, attributes: OTHERS },
          options,
        );
        expect(await failure(registry.updateLease(NETWORK, created, created, options))).toBeInstanceOf(LeaseLostError);
        const found = await registry.getLease(NETWORK, subnet(34), options);
        expect(found).toMatchObject({ attributes: OTHERS, revision: theirs.revision });
      },
    );

    check(
      "updateLease() throws LeaseLostError if the lease is gone, and does not bring it back",
      async ({ registry, options }) => {
        const created = await registry.createLease(NETWORK, claim(34), options);
        await registry.deleteLease(NETWORK, created, options);
        expect(await failure(registry.updateLease(NETWORK, created, created, options))).toBeInstanceOf(LeaseLostError);
        expect(await registry.getLease(NETWORK, subnet(34), options)).toBeUndefined();
        await registry.createLease(NETWORK, claim(34, OTHERS), options);
        expect(await failure(registry.updateLease(NETWORK, created, created, options))).toBeInstanceOf(LeaseLostError);
      },
    );

    check("updateLease() lets exactly one of two connections win", async ({ registry, options, second }) => {
      const registries = [registry, await second()];
      let lease = await registry.createLease(NETWORK, claim(34), options);
      for (let round = 0; round < 10; round++) {
        const results = await Promise.allSettled(
          registries.map((each) => each.updateLease(NETWORK, lease, lease, options)),
        );
        const lost = results.filter((result) => result.status === "rejected");
        expect(lost.map((result) => result.reason)).toEqual([expect.any(LeaseLostError)]);
        lease = (await registry.getLease(NETWORK, subnet(34), options)) ?? lease;
      }
    });

    check("deleteLease() removes the lease, if it is still that one", async ({ registry, options, second }) => {
      const created = await registry.createLease(NETWORK, claim(34), options);
      await registry.createLease(NETWORK, claim(35, OTHERS), options);
      const updated = await (await second()).updateLease(NETWORK, created, created, options);
      expect(await failure(registry.deleteLease(NETWORK, created, options))).toBeInstanceOf(LeaseLostError);
      expect(await registry.getLease(NETWORK, subnet(34), options)).toBeDefined();
      await registry.deleteLease(NETWORK, updated, options);
      expect(await registry.getLease(NETWORK, subnet(34), options)).toBeUndefined();
      expect(await failure(registry.deleteLease(NETWORK, updated, options))).toBeInstanceOf(LeaseLostError);
      expect((await registry.listLeases(NETWORK, options)).leases).toHaveLength(1);
    });

    check("listLeases() lists one network only", async ({ registry, options }) => {
      const networks = ["", "blue", "blue2"];
      for (const [index, network] of networks.entries()) {
        await registry.setConfig(network, CONFIG, options);
        await registry.createLease(network, claim(index + 1), options);
      }
      for (const [index, network] of networks.entries()) {
        const { leases } = await registry.listLeases(network, options);
        expect(leases.map((lease) => lease.subnet)).toEqual([subnet(index + 1)]);
        expect(await registry.getLease(network, subnet(9), options)).toBeUndefined();
      }
    });

    check("listLeases() lists hundreds of leases, each with its own revision", async ({ registry, options }) => {
      const attributes = (number: number) => ({
        publicIP: parseAddress(`192.0.2.${number % 250}`),
        backendType: "host-gw",
      });
      const created: Lease[] = [];
      for (let number = 0; number < 200; number += 20)
        created.push(
          ...(await Promise.all(
            Array.from({ length: 20 }, (_, index) =>
              registry.createLease(NETWORK, claim(number + index, attributes(number + index)), options),
            ),
          )),
        );
      const { leases, cursor } = await registry.listLeases(NETWORK, options);
      const essence = (each: readonly Lease[]) =>
        bySubnet(each).map((lease) => ({
          subnet: lease.subnet,
          attributes: lease.attributes,
          revision: lease.revision,
        }));
      expect(essence(leases)).toEqual(essence(created));
      expect(new Set(leases.map((lease) => lease.revision)).size).toBe(200);
      for (const lease of leases) expect(lease.revision <= cursor.index).toBe(true);
    });
  });

  describe(`${name}: watch`, () => {
    check("watchLeases() yields an empty batch once connected", async ({ registry, now, follow }) => {
      const since = await now();
      const watch = follow(registry, since);
      const [first] = await watch.until((batches) => batches.length > 0);
      expect(first?.events).toEqual([]);
      expect(first?.cursor.history).toBe(since.history);
      expect(first?.cursor.index).toBeGreaterThanOrEqual(since.index);
    });

    check(
      "watchLeases() tells of every change after the cursor, in order",
      async ({ registry, options, now, follow, second }) => {
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
      },
    );

    check("watchLeases() catches up with what changed before it began", async ({ registry, options, now, follow }) => {
      const since = await now();
      const created = await registry.createLease(NETWORK, claim(1), options);
      await registry.setConfig(NETWORK, CONFIG, options);
      await registry.deleteLease(NETWORK, created, options);
      const batches = await follow(registry, since).until((all) => eventsOf(all).length >= 2);
      expect(eventsOf(batches)).toMatchObject([
        { type: "added", lease: { subnet: subnet(1) } },
        { type: "removed", subnet: subnet(1) },
      ]);
    });

    check(
      "watchLeases() can be taken up again from every cursor it gave, without loss or repetition",
      async ({ registry, options, now, follow }) => {
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
      },
    );

    check("watchLeases() tells of one network only", async ({ registry, options, now, follow }) => {
      const networks = ["", "blue", "blue2"];
      for (const network of networks) await registry.setConfig(network, CONFIG, options);
      const watches = await Promise.all(networks.map(async (network) => follow(registry, await now(network), network)));
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
    });

    check("watchLeases() begins in a network that is not there yet", async ({ registry, options, now, follow }) => {
      const watch = follow(registry, await now("blue"), "blue");
      await watch.until((batches) => batches.length > 0);
      await registry.createLease("blue", claim(1), options);
      expect(eventsOf(await watch.until((all) => eventsOf(all).length > 0))).toHaveLength(1);
    });

    check("watchLeases() loses nothing of a burst", async ({ registry, options, now, follow, second }) => {
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
    });

    check(
      "watchLeases() throws HistoryLostError at once for another history's cursor",
      async ({ registry, now, follow }) => {
        const { index } = await now();
        expect(await follow(registry, { history: "of another store", index }).failure()).toBeInstanceOf(
          HistoryLostError,
        );
      },
    );

    check(
      "watchLeases() throws HistoryLostError at once for a cursor that is ahead of the store",
      async ({ registry, now, follow }) => {
        const since = await now();
        const ahead = { ...since, index: since.index + 1_000_000n };
        expect(await follow(registry, ahead).failure()).toBeInstanceOf(HistoryLostError);
      },
    );

    check("every call ends within 100 ms when it is aborted", async ({ registry, options, now, follow }) => {
      const lease = await registry.createLease(NETWORK, claim(1), options);
      const since = await now();
      for (const [call, run] of calls(registry, lease, since)) {
        const reason = new Error("stop");
        const before = performance.now();
        expect([call, await failure(run({ signal: AbortSignal.abort(reason) }))]).toEqual([call, reason]);
        expect(performance.now() - before).toBeLessThan(100);
      }
      const watch = follow(registry, since);
      await watch.until((batches) => batches.length > 0);
      const before = performance.now();
      await watch.stop();
      expect(performance.now() - before).toBeLessThan(100);
    });

    check("watchLeases() may be left in the middle", async ({ registry, options, now }) => {
      const since = await now();
      for (let number = 0; number < 3; number++) await registry.createLease(NETWORK, claim(number), options);
      for await (const { events } of registry.watchLeases(NETWORK, since, options)) if (events.length > 0) break;
      expect((await registry.listLeases(NETWORK, options)).leases).toHaveLength(3);
    });

    const { writeEntry, expire, compact, wipe, backup, stop, freeze } = harness;

    if (writeEntry !== undefined) {
      check(
        "entries that make no sense are logged once and hide nothing else",
        async ({ fixture, registry, options, now, follow }) => {
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
        },
      );

      check(
        "a lease of a dual-stack network of later releases is read, updated and deleted under its key",
        async ({ fixture, registry, options, now, follow }) => {
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
        },
      );
    }

    if (expire !== undefined)
      check("watchLeases() tells when a lease's time is over", async ({ fixture, registry, options, now, follow }) => {
        await registry.createLease(NETWORK, claim(1), options);
        await registry.createLease(NETWORK, claim(2, OTHERS, true), options);
        const watch = follow(registry, await now());
        await watch.until((batches) => batches.length > 0);
        await expire(fixture, NETWORK, subnet(1));
        const events = eventsOf(await watch.until((all) => eventsOf(all).some((event) => event.type === "removed")));
        expect(events.filter((event) => event.type === "removed")).toEqual([{ type: "removed", subnet: subnet(1) }]);
        const { leases } = await registry.listLeases(NETWORK, options);
        expect(leases.map((lease) => lease.subnet)).toEqual([subnet(2)]);
      });

    if (compact !== undefined)
      check(
        "watchLeases() throws HistoryLostError for a cursor before a compaction, and goes on from a new listing",
        async ({ fixture, registry, options, now, follow }) => {
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
        },
      );

    if (wipe !== undefined)
      check(
        "watchLeases() throws HistoryLostError for a cursor from before the store was made anew",
        async ({ fixture, registry, options, follow }) => {
          await registry.createLease(NETWORK, claim(1), options);
          const { cursor } = await registry.listLeases(NETWORK, options);
          await wipe(fixture);
          const listing = await eventually(() => registry.listLeases(NETWORK, options));
          expect(listing.leases).toEqual([]);
          expect(listing.cursor.history !== cursor.history || listing.cursor.index < cursor.index).toBe(true);
          const error = await eventuallyNot(StoreUnavailableError, () => follow(registry, cursor).failure());
          expect(error).toBeInstanceOf(HistoryLostError);
        },
      );

    if (backup !== undefined)
      check(
        "watchLeases() throws HistoryLostError for a cursor that a restored backup has not reached",
        async ({ fixture, registry, options, follow }) => {
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
        },
      );

    if (stop !== undefined)
      check(
        "every call throws StoreUnavailableError while the store is away, and works when it is back",
        async ({ fixture, registry, options, now, follow }) => {
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
        },
        4 * PATIENCE,
      );

    if (freeze !== undefined)
      check(
        "a store that has gone silent is noticed within 15 s, and aborting does not wait for it",
        async ({ fixture, registry, options, now, follow }) => {
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
            expect(performance.now() - asked).toBeLessThan(100);
          }
          const call = failure(registry.getConfig(NETWORK, options));
          expect(await watch.failure()).toBeInstanceOf(StoreUnavailableError);
          expect(clock.now() - before).toBeLessThan(16_000);
          expect(await call).toBeInstanceOf(StoreUnavailableError);
          await thaw(); // what was asked meanwhile may still be done now
          await eventually(() => registry.listLeases(NETWORK, options));
        },
        4 * PATIENCE,
      );
  });

  function expectTtl(lease: Lease | undefined): void {
    const left = (lease?.expiresAt ?? Number.NaN) - clock.now();
    expect(left).toBeGreaterThan(LEASE_TTL - 60_000);
    expect(left).toBeLessThanOrEqual(LEASE_TTL + 1_000);
    const shown = (lease?.expiration?.getTime() ?? Number.NaN) - clock.wallClock().getTime();
    expect(Math.abs(shown - left)).toBeLessThan(60_000);
  }
}

type Call = readonly [name: string, run: (options: { readonly signal: AbortSignal }) => Promise<unknown>];

function calls(registry: Registry, lease: Lease, since: Cursor): readonly Call[] {
  return [
    ["getConfig", (options) => registry.getConfig(NETWORK, options)],
    ["setConfig", (options) => registry.setConfig(NETWORK, CONFIG, options)],
    ["listLeases", (options) => registry.listLeases(NETWORK, options)],
    ["getLease", (options) => registry.getLease(NETWORK, lease.subnet, options)],
    ["createLease", (options) => registry.createLease(NETWORK, claim(200), options)],
    ["updateLease", (options) => registry.updateLease(NETWORK, lease, lease, options)],
    ["deleteLease", (options) => registry.deleteLease(NETWORK, lease, options)],
    ["watchLeases", (options) => drain(registry.watchLeases(NETWORK, since, options))],
  ];
}

async function drain(batches: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of batches);
}

function eventsOf(batches: readonly LeaseEvents[]): LeaseEvents["events"] {
  return batches.flatMap((batch) => batch.events);
}

function essence(event: LeaseEvents["events"][number]): unknown {
  return event.type === "added" ? [event.lease.subnet, event.lease.revision] : event.subnet;
}

function bySubnet(leases: readonly Lease[]): readonly Lease[] {
  return leases.toSorted((a, b) => Number(a.subnet.address.value - b.subnet.address.value));
}

/** What the promise rejects with. */
async function failure(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it succeeded");
}

/** The result of `work`, tried until the store is there again. */
async function eventually<T>(work: () => Promise<T>): Promise<T> {
  for (const end = performance.now() + PATIENCE; ; ) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof StoreUnavailableError) || performance.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

/** The error that `work` resolves to, tried until it is none of this class. */
async function eventuallyNot(transient: typeof StoreUnavailableError, work: () => Promise<unknown>): Promise<unknown> {
  for (const end = performance.now() + PATIENCE; ; ) {
    const error = await work();
    if (!(error instanceof transient) || performance.now() > end) return error;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
