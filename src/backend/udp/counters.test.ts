import { describe, expect, test } from "vitest";
import { CountersReader, CountersWriter, createCounters, WORK } from "./counters.ts";
import { DROP_REASONS } from "./drop-reason.ts";
import { ACCEPTED } from "./forwarding.ts";

function counters(slots?: number) {
  const memory = createCounters(slots);
  return { writer: new CountersWriter(memory), reader: new CountersReader(memory) };
}

const traffic = (sentPackets: number, sentBytes: number, receivedPackets: number, receivedBytes: number) => ({
  sentPackets,
  sentBytes,
  receivedPackets,
  receivedBytes,
});

describe("CountersReader", () => {
  test("peer() tells what went to and came from each peer", () => {
    const { writer, reader } = counters();
    writer.sent(0, 45, 64_000);
    writer.sent(7, 1, 84);
    writer.received(7, 2, 168);
    writer.received(7, 1, 60);
    expect([0, 1, 7].map((slot) => reader.peer(slot))).toEqual([
      traffic(45, 64_000, 0, 0),
      traffic(0, 0, 0, 0),
      traffic(1, 84, 3, 228),
    ]);
  });

  test("peer() counts from begin(), whatever the slot's former peer did", () => {
    const { writer, reader } = counters();
    writer.sent(3, 10, 1000);
    reader.begin(3);
    expect(reader.peer(3)).toEqual(traffic(0, 0, 0, 0));
    writer.sent(3, 1, 100);
    writer.received(3, 2, 200);
    expect(reader.peer(3)).toEqual(traffic(1, 100, 2, 200));
  });

  test("total() goes on when a slot changes hands, and holds those that AcceptFrom lets in", () => {
    const { writer, reader } = counters();
    for (const slot of [0, 1]) reader.begin(slot);
    writer.sent(0, 1, 10);
    writer.sent(1, 2, 20);
    reader.begin(1);
    writer.received(1, 4, 40);
    writer.received(ACCEPTED, 8, 80);
    expect(reader.total()).toEqual(traffic(3, 30, 12, 120));
    expect(reader.peer(0)).toEqual(traffic(1, 10, 0, 0));
  });

  test("total() holds peers beyond the last slot, and nobody else's numbers change by them", () => {
    const { writer, reader } = counters(2);
    for (const slot of [0, 1, 2, 99]) reader.begin(slot);
    writer.sent(1, 1, 10);
    writer.sent(2, 2, 20);
    writer.received(99, 4, 40);
    expect(reader.total()).toEqual(traffic(3, 30, 4, 40));
    expect([reader.peer(0), reader.peer(1)]).toEqual([traffic(0, 0, 0, 0), traffic(1, 10, 0, 0)]);
    expect(Object.values(reader.drops()).every((count) => count === 0)).toBe(true);
  });

  test("drops() and work() have every name, each counted for itself", () => {
    const { writer, reader } = counters(1);
    for (const [index, reason] of DROP_REASONS.entries()) writer.dropped(reason, index);
    for (const reason of DROP_REASONS) writer.dropped(reason, 1);
    for (const [index, work] of WORK.entries()) for (let times = 0; times <= index; times++) writer.works(work);
    expect(reader.drops()).toEqual(Object.fromEntries(DROP_REASONS.map((reason, index) => [reason, index + 1])));
    expect(reader.work()).toEqual(Object.fromEntries(WORK.map((work, index) => [work, index + 1])));
    expect(reader.total()).toEqual(traffic(0, 0, 0, 0));
  });

  test("peer() is exact beyond 2^32", () => {
    const { writer, reader } = counters(1);
    writer.sent(0, 1, 2 ** 52);
    for (let times = 0; times < 3; times++) writer.sent(0, 1, 1);
    expect(reader.peer(0)).toEqual(traffic(4, 2 ** 52 + 3, 0, 0));
  });
});
