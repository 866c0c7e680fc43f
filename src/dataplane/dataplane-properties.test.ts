import * as fc from "fast-check";
import { expect, test } from "vitest";
import { FakeHost } from "./fake-host.ts";
import { type FakeRow, type FakeTable, fakeRow } from "./fake-table.ts";

const keys = ["a", "b", "c", "d"] as const;
const key = fc.constantFrom(...keys);
const row = fc.record({ key, value: fc.constantFrom("1", "2") });
const rows = fc.uniqueArray(row, { selector: ({ key }) => key });
const which = fc.constantFrom(0, 1);

/** Anything that can happen to a dataplane and its two tables. */
type Event =
  | { readonly type: "want"; readonly rows: readonly [FakeRow[], FakeRow[]]; readonly spareUnknown: boolean }
  | { readonly type: "put" | "remove" | "fail" | "mend"; readonly table: number; readonly row: FakeRow }
  | { readonly type: "break" | "cut" | "works"; readonly table: number }
  | { readonly type: "wait"; readonly span: number }
  | { readonly type: "resync" };

const event: fc.Arbitrary<Event> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ type: fc.constant("want"), rows: fc.tuple(rows, rows), spareUnknown: fc.boolean() }),
  },
  { weight: 4, arbitrary: fc.record({ type: fc.constantFrom("put", "remove", "fail", "mend"), table: which, row }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constantFrom("break", "cut", "works"), table: which }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant("wait"), span: fc.constantFrom(0, 5, 25, 300, 12_000) }) },
  fc.record({ type: fc.constant("resync") }),
);

async function play(host: FakeHost, tables: readonly [FakeTable, FakeTable], event: Event): Promise<void> {
  const table = "table" in event ? tables[event.table === 0 ? 0 : 1] : tables[0];
  switch (event.type) {
    case "want":
      return await host.want(
        [
          [tables[0], event.rows[0]],
          [tables[1], event.rows[1]],
        ],
        event,
      );
    case "put":
      return table.putByHand(event.row);
    case "remove":
      return table.removeByHand(event.row.key);
    case "fail":
      return table.failRow(event.row.key, new Error("no"));
    case "mend":
      return table.failRow(event.row.key, undefined);
    case "break":
      table.listError = new Error("no listing");
      return;
    case "cut":
      table.applyError = { error: new Error("cut off"), afterRows: 1 };
      return;
    case "works":
      return mend(table);
    case "wait":
      return await host.passes(event.span);
    case "resync":
      return host.dataplane.resync();
  }
}

function mend(table: FakeTable): void {
  table.listError = undefined;
  table.applyError = undefined;
  for (const key of keys) table.failRow(key, undefined);
}

const text = (rows: readonly FakeRow[]) => rows.map(({ key, value }) => `${key}=${value}`).toSorted();

test("Dataplane makes tables hold what is wanted whatever happened before, and then comes to rest", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(event, { maxLength: 30 }), fc.tuple(rows, rows), async (events, desired) => {
      await using host = new FakeHost();
      const tables = [host.table("low", [fakeRow("d", "old")]), host.table("high", [fakeRow("d", "old")])] as const;
      for (const event of events) await play(host, tables, event);
      for (const table of tables) mend(table);
      await host.want([
        [tables[0], desired[0]],
        [tables[1], desired[1]],
      ]);
      await host.passes(61_000);
      expect(tables.map(({ contents }) => contents)).toEqual(desired.map(text));
      expect(host.dataplane.problems).toEqual([]);
      await host.dataplane.settled(host);
      for (const table of tables) table.forgetCalls();
      await host.passes(1_000);
      expect(tables.flatMap(({ batches }) => batches)).toEqual([]);
    }),
    { numRuns: 100 },
  );
}, 60_000);

test("Dataplane never removes with spareUnknown what was not wanted before", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(event, { maxLength: 30 }), rows, async (events, found) => {
      await using host = new FakeHost();
      const tables = [host.table("low", found), host.table("high", found)] as const;
      const wanted: [Set<string>, Set<string>] = [new Set(), new Set()];
      for (const event of events) {
        if (event.type === "want")
          for (const table of [0, 1] as const) for (const { key } of event.rows[table]) wanted[table].add(key);
        await play(host, tables, event.type === "want" ? { ...event, spareUnknown: true } : event);
      }
      await host.passes(1_000);
      for (const index of [0, 1] as const) {
        const removed = tables[index].batches.flatMap(({ removals }) =>
          removals.map((text) => text.split("=")[0] ?? ""),
        );
        expect(removed.filter((key) => !wanted[index].has(key))).toEqual([]);
      }
    }),
    { numRuns: 60 },
  );
}, 60_000);
