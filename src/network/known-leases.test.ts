import { describe, expect, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { formatPrefix, parsePrefix } from "../ip/prefix.ts";
import { type Cursor, LEASE_TTL, type Lease } from "../lease/lease.ts";
import { FakeClock } from "../lib/fake-clock.ts";
import { RecordingLogger } from "../lib/recording-logger.ts";
import { HostMemory } from "./host-memory.ts";
import { type HostState, type HostStateFile, NO_STATE } from "./host-state.ts";
import { KnownLeases } from "./known-leases.ts";

const RESET = "the store's history was reset: peers it does not name are kept until their leases would end";
const at = (index: number, history = "etcd-1"): Cursor => ({ history, index: BigInt(index) });

async function begin(remembered: Partial<HostState> = {}) {
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  let stored: HostState = { ...NO_STATE, ...remembered };
  const file = {
    read: async () => stored,
    write: async (state: HostState) => {
      stored = state;
    },
  };
  const memory = await HostMemory.open(file as HostStateFile);
  const known = new KnownLeases(memory, clock, logger);
  const lease = (number: number): Lease => ({
    subnet: parsePrefix(`10.5.${number}.0/24`),
    attributes: { publicIP: parseAddress(`192.0.2.${number}`) },
    expiresAt: clock.now() + LEASE_TTL / 2,
    isReservation: false,
    revision: 1n,
  });
  const snapshot = (cursor: Cursor, ...numbers: readonly number[]) =>
    known.apply({ type: "snapshot", leases: numbers.map(lease), cursor });
  const all = () => known.all.map(({ subnet }) => formatPrefix(subnet));
  return { clock, logger, memory, known, snapshot, all, stored: () => stored };
}

describe("KnownLeases.isComplete", () => {
  test("is false before the first snapshot, and true after it", async () => {
    const { known, snapshot, logger } = await begin();
    expect(known.isComplete).toBe(false);
    snapshot(at(10));
    expect(known.isComplete).toBe(true);
    expect(logger.lines).toEqual([]);
  });

  test("is true if the first snapshot goes on where an earlier run ended", async () => {
    const { known, snapshot } = await begin({ cursor: at(10) });
    snapshot(at(10), 1);
    expect(known.isComplete).toBe(true);
  });

  test.each([
    ["comes from another history", at(900, "etcd-2")],
    ["goes back behind where an earlier run ended", at(9)],
  ])("is false for a lease's time if the first snapshot %s, also after a restart", async (_, cursor) => {
    const { known, snapshot, logger, clock, memory, stored } = await begin({ cursor: at(10) });
    snapshot(cursor, 1);
    expect(known.isComplete).toBe(false);
    expect(logger.messages("warn")).toEqual([RESET]);
    await memory.flush();
    const again = await begin(stored());
    again.snapshot(cursor, 1);
    expect(again.known.isComplete).toBe(false);
    expect(again.logger.lines).toEqual([]);
    await clock.advance(LEASE_TTL);
    expect(known.isComplete).toBe(true);
  });

  test("is false for a lease's time at most, whatever a wall clock that was years ahead made an earlier run remember", async () => {
    const { known, snapshot, clock, memory, stored } = await begin({ spareUntil: 4_000_000_000_000 });
    snapshot(at(10), 1);
    expect(known.isComplete).toBe(false);
    await clock.advance(LEASE_TTL);
    expect(known.isComplete).toBe(true);
    await memory.flush();
    expect(stored().spareUntil).toBe(clock.wallClock().getTime());
  });

  test("is false for a lease's time if the history is reset while we run", async () => {
    const { known, snapshot, all } = await begin();
    snapshot(at(10), 1, 2);
    snapshot(at(1, "etcd-2"), 1);
    expect(known.isComplete).toBe(false);
    expect(all()).toEqual(["10.5.1.0/24", "10.5.2.0/24"]);
  });
});

describe("KnownLeases.stored()", () => {
  test("gives what the store tells of, and not what is only kept", async () => {
    const { known, snapshot } = await begin();
    const subnet = parsePrefix("10.5.1.0/24");
    expect(known.stored(subnet)).toBeUndefined();
    snapshot(at(10), 1);
    expect(known.stored(subnet)?.subnet).toEqual(subnet);
    snapshot(at(1, "etcd-2"));
    expect(known.stored(subnet)).toBeUndefined();
  });
});

describe("KnownLeases.dropEnded()", () => {
  test("drops what is only kept, at its end", async () => {
    const { known, snapshot, clock, all } = await begin();
    snapshot(at(10), 1, 2);
    snapshot(at(1, "etcd-2"), 1);
    expect(known.nextEnd).toBe(clock.now() + LEASE_TTL / 2);
    await clock.advance(LEASE_TTL / 2);
    expect(known.dropEnded().length).toBe(1);
    expect(all()).toEqual(["10.5.1.0/24"]);
  });
});

test("KnownLeases.rememberCursor() remembers how far events have come", async () => {
  const { known, snapshot, memory, stored } = await begin();
  known.rememberCursor();
  await memory.flush();
  expect(stored().cursor).toBeUndefined();
  snapshot(at(10), 1);
  known.apply({ type: "events", events: [], cursor: at(20) });
  known.rememberCursor();
  await memory.flush();
  expect(stored().cursor).toEqual(at(20));
});
