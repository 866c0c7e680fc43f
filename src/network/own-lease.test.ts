import { describe, expect, onTestFinished, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { parsePrefix } from "../ip/prefix.ts";
import { LeaseLostError, StoreUnavailableError } from "../lease/errors.ts";
import { LEASE_TTL, type Lease, type LeaseAttributes } from "../lease/lease.ts";
import type { SubnetManager } from "../lease/subnet-manager.ts";
import { FakeClock } from "../lib/fake-clock.ts";
import { RecordingLogger } from "../lib/recording-logger.ts";
import { OwnLease } from "./own-lease.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const MARGIN = HOUR;
const attributes: LeaseAttributes = { publicIP: parseAddress("192.0.2.1"), backendType: "host-gw" };
const others: LeaseAttributes = { publicIP: parseAddress("192.0.2.1"), backendType: "vxlan" };
const subnet = parsePrefix("10.5.1.0/24");

/** What a store is asked for, and how it answers. */
class Store {
  readonly clock: FakeClock;
  /** When our lease was written, in minutes since the beginning, and with what. */
  readonly writes: { readonly minute: number; readonly lease: Lease; readonly attributes: LeaseAttributes }[] = [];
  failure: Error | undefined;
  tellsEnd = true;
  #revision = 1n;
  readonly #start: number;

  constructor(clock: FakeClock) {
    this.clock = clock;
    this.#start = clock.now();
  }

  lease(more: Partial<Lease> = {}): Lease {
    const now = this.clock.now();
    return {
      subnet,
      attributes,
      isReservation: false,
      revision: ++this.#revision,
      ...(this.tellsEnd && more.isReservation !== true && { expiresAt: now + LEASE_TTL }),
      ...more,
    };
  }

  get minutes(): readonly number[] {
    return this.writes.map(({ minute }) => minute);
  }

  async updateLease(_: string, lease: Lease, attributes: LeaseAttributes): Promise<Lease> {
    const minute = Math.round((this.clock.now() - this.#start) / MINUTE);
    this.writes.push({ minute, lease, attributes });
    if (this.failure !== undefined) throw this.failure;
    return this.lease({ attributes, isReservation: lease.isReservation });
  }
}

function hold(
  more: {
    readonly lease?: Partial<Lease>;
    readonly margin?: number;
    readonly tellsEnd?: boolean;
    readonly twin?: string;
  } = {},
) {
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  const store = new Store(clock);
  store.tellsEnd = more.tellsEnd ?? true;
  const controller = new AbortController();
  const own = new OwnLease(store.lease(more.lease), {
    store: store as unknown as SubnetManager,
    network: "",
    renewMargin: more.margin ?? MARGIN,
    twin: () => Promise.resolve(more.twin),
    clock,
    logger,
  });
  const kept = own.keep(controller).catch((error: unknown) => error);
  onTestFinished(async () => {
    controller.abort(new Error("the test is over"));
    await kept;
    expect(clock.sleeping).toBe(0);
  });
  return { clock, logger, store, own, kept, controller };
}

describe("OwnLease.keep()", () => {
  test("renews at the margin, again and again, and says so", async () => {
    const { clock, store, logger } = hold();
    await clock.advance(3 * 23 * HOUR);
    expect(store.minutes).toEqual([23 * 60, 46 * 60, 69 * 60]);
    expect(logger.messages("info")).toEqual(["lease renewed", "lease renewed", "lease renewed"]);
  });

  test.each([
    ["one minute", 1, 1439],
    ["the most there is", 1439, 1],
  ])("renews at a margin of %s", async (_, margin, minute) => {
    const { clock, store } = hold({ margin: margin * MINUTE });
    await clock.advance(minute * MINUTE);
    expect(store.minutes).toEqual([minute]);
  });

  test("renews at once what is overdue", async () => {
    const { clock, store } = hold({ lease: { expiresAt: 1_000_000 + 10 * MINUTE } });
    await clock.advance(0);
    expect(store.minutes).toEqual([0]);
  });

  test("writes the lease as it was read last, with our attributes", async () => {
    const { clock, store } = hold();
    await clock.advance(2 * 23 * HOUR);
    expect(store.writes.map(({ lease }) => lease.revision)).toEqual([2n, 3n]);
    expect(store.writes[1]?.attributes).toBe(attributes);
  });

  test("never renews a reservation", async () => {
    const { clock, store } = hold({ lease: { isReservation: true } });
    await clock.advance(100 * 24 * HOUR);
    expect(store.writes).toEqual([]);
  });

  test("renews in time also where the store does not tell when a lease ends", async () => {
    const { clock, store } = hold({ tellsEnd: false });
    await clock.advance(47 * HOUR);
    expect(store.minutes).toEqual([23 * 60, 46 * 60]);
  });

  test("tries again with growing pauses up to a minute while the store is away, and says so", async () => {
    const { clock, store, logger } = hold();
    store.failure = new StoreUnavailableError("etcd", "connection refused");
    await clock.advance(23 * HOUR + 30 * MINUTE);
    expect(store.writes.length).toBeGreaterThan(30);
    expect(store.writes.length).toBeLessThan(50);
    store.failure = undefined;
    await clock.advance(MINUTE);
    const { length } = store.writes;
    await clock.advance(22 * HOUR);
    expect(store.writes.length).toBe(length);
    expect(new Set(logger.messages("warn"))).toEqual(new Set(["lease could not be renewed; will try again"]));
  });

  test("ends when the lease is lost", async () => {
    const { clock, store, kept } = hold();
    store.failure = new LeaseLostError(subnet, "it is gone");
    await clock.advance(23 * HOUR);
    expect(await kept).toBe(store.failure);
  });

  test.each([
    ["while it waits", 0],
    ["while it waits to try again", 23 * HOUR],
  ])("ends with the reason of an abort %s", async (_, time) => {
    const { clock, store, kept, controller } = hold();
    store.failure = new StoreUnavailableError("etcd", "away");
    await clock.advance(time);
    const reason = new Error("enough");
    controller.abort(reason);
    expect(await kept).toBe(reason);
  });
});

describe("OwnLease.follow()", () => {
  test("renews at once what somebody else renewed, so that they see that this host lives", async () => {
    const { clock, store, own, logger } = hold();
    await clock.advance(HOUR);
    own.follow(store.lease());
    await clock.advance(0);
    expect(store.minutes).toEqual([60]);
    expect(logger.messages("info")).toEqual(["our lease was renewed by somebody else; it was told that we have it"]);
    await clock.advance(22 * HOUR);
    expect(store.minutes).toEqual([60]);
    await clock.advance(HOUR);
    expect(store.minutes).toEqual([60, 24 * 60]);
  });

  test("takes its own renewal for no question, though the store tells of it before it answers", async () => {
    const { clock, store, own } = hold();
    const write = store.updateLease.bind(store);
    store.updateLease = async (...args) => {
      const written = await write(...args);
      own.follow(written);
      return written;
    };
    await clock.advance(23 * HOUR + MINUTE);
    expect(store.minutes).toEqual([23 * 60]);
  });

  test("answers ten questions at once and then one in ten seconds, for two that hold one lease ask for ever", async () => {
    const { clock, store, own } = hold();
    for (let second = 0; second < 60; second++) {
      own.follow(store.lease());
      await clock.advance(1_000);
    }
    expect(store.writes.length).toBeGreaterThanOrEqual(15);
    expect(store.writes.length).toBeLessThanOrEqual(16);
  });

  /** Of a store that was restored: nobody's question. */
  const older = { revision: 0n };

  test("renews earlier when somebody shortened the lease", async () => {
    const { clock, store, own } = hold();
    await clock.advance(HOUR);
    own.follow(store.lease({ ...older, expiresAt: clock.now() + 90 * MINUTE }));
    await clock.advance(29 * MINUTE);
    expect(store.writes).toEqual([]);
    await clock.advance(MINUTE);
    expect(store.minutes).toEqual([90]);
  });

  test("renews later when another of our own renewals is told", async () => {
    const { clock, store, own } = hold();
    await clock.advance(22 * HOUR);
    own.follow(store.lease(older));
    await clock.advance(22 * HOUR);
    expect(store.writes).toEqual([]);
  });

  test("keeps the end it knows where the store does not tell", async () => {
    const { clock, store, own } = hold();
    store.tellsEnd = false;
    await clock.advance(HOUR);
    own.follow(store.lease(older));
    await clock.advance(22 * HOUR);
    expect(store.minutes).toEqual([23 * 60]);
  });

  test("stops renewing when an administrator makes it a reservation, and says so", async () => {
    const { clock, store, own, logger } = hold();
    own.follow(store.lease({ isReservation: true }));
    await clock.advance(100 * HOUR);
    expect(store.writes).toEqual([]);
    expect(logger.messages("info")).toEqual(["lease became a reservation"]);
    expect(own.lease.isReservation).toBe(true);
  });

  test.each([[true], [false]])("renews again when it is no reservation any more (end told: %s)", async (tellsEnd) => {
    const { clock, store, own, logger } = hold({ lease: { isReservation: true } });
    store.tellsEnd = tellsEnd;
    await clock.advance(50 * HOUR);
    own.follow(store.lease());
    expect(logger.messages("info")).toEqual(["reservation became a lease"]);
    await clock.advance(23 * HOUR);
    expect(store.minutes).toEqual([73 * 60]);
    expect(store.writes[0]?.lease.isReservation).toBe(false);
  });

  test("writes our attributes again when another host rewrote them, later each time, and says whom to look for", async () => {
    const { clock, store, own, logger } = hold();
    const pauses: number[] = [];
    for (let time = 0; time < 3; time++) {
      own.follow(store.lease({ attributes: others }));
      const before = { count: store.writes.length, now: clock.now() };
      while (store.writes.length === before.count) await clock.advance(100);
      pauses.push(clock.now() - before.now);
      expect(store.writes.at(-1)?.attributes).toBe(attributes);
    }
    expect(pauses[0]).toBeLessThanOrEqual(500);
    expect(pauses.slice(1).every((pause, index) => pause > (pauses[index] ?? 0))).toBe(true);
    expect(pauses.at(-1)).toBeLessThanOrEqual(10_000);
    expect(logger.lines.find(({ level }) => level === "warn")).toMatchObject({
      message: "our lease was rewritten: does another host use our public IP?",
      fields: { publicIP: "192.0.2.1" },
    });
  });

  test("leaves it to the other from the fourth time on, until its renewal, and says so", async () => {
    const { clock, store, own, logger } = hold();
    for (let time = 0; time < 3; time++) {
      own.follow(store.lease({ attributes: others }));
      await clock.advance(MINUTE);
    }
    expect(store.writes).toHaveLength(3);
    own.follow(store.lease({ attributes: others }));
    await clock.advance(20 * HOUR);
    expect(store.writes).toHaveLength(3);
    expect(logger.messages("warn")).toContain(
      "our lease is rewritten again and again; it is left as it is until its renewal",
    );
    await clock.advance(4 * HOUR);
    expect(store.writes.at(-1)?.attributes).toBe(attributes);
    own.follow(store.lease({ attributes: others }));
    const { length } = store.writes;
    await clock.advance(MINUTE);
    expect(store.writes).toHaveLength(length + 1);
  });

  test("leaves it to another host that answers for our public IP, and names it", async () => {
    const { clock, store, own, logger } = hold({ twin: "02:00:00:00:00:09" });
    own.follow(store.lease({ attributes: others }));
    await clock.advance(20 * HOUR);
    expect(store.writes).toEqual([]);
    expect(own.lease.attributes).toBe(attributes);
    expect(logger.lines.at(-1)).toMatchObject({
      message: "another host has our public IP; its lease is left as it is",
      fields: { owner: "02:00:00:00:00:09" },
    });
  });

  test("is not disturbed by what it wrote itself", async () => {
    const { clock, store, own, logger } = hold();
    own.follow(own.lease);
    await clock.advance(22 * HOUR);
    expect(store.writes).toEqual([]);
    expect(logger.lines).toEqual([]);
  });

  test("throws when the subnet is another host's, and says whose", () => {
    const { store, own } = hold();
    const theirs = store.lease({ attributes: { publicIP: parseAddress("192.0.2.9") } });
    expect(() => own.follow(theirs)).toThrow("lease on 10.5.1.0/24 was lost: 192.0.2.9 holds it now");
    expect(() => own.follow(theirs)).toThrow(LeaseLostError);
  });
});
