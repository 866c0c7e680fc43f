import * as fc from "fast-check";
import { expect, test } from "vitest";
import { type FakeRow, FakeTable, fakeRow } from "./fake-table.ts";
import { plan } from "./plan.ts";

const table = new FakeTable();
const row = fc.record({ key: fc.constantFrom("a", "b", "c", "d", "e"), value: fc.constantFrom("1", "2") });
const rows = fc.array(row, { maxLength: 8 });
const listed = fc.uniqueArray(row, { selector: ({ key }) => key });

/** The first row of each key. */
function firsts(rows: readonly FakeRow[]): ReadonlyMap<string, FakeRow> {
  return new Map(rows.toReversed().map((row) => [row.key, row]));
}

test("plan() applied to what is there gives what is wanted", () => {
  fc.assert(
    fc.property(rows, listed, (desired, actual) => {
      const { puts, removals } = plan(table, desired, actual);
      const result = new Map<string, FakeRow>(actual.map((row) => [row.key, row]));
      for (const row of puts) result.set(row.key, row);
      for (const row of removals) result.delete(row.key);
      expect(result).toEqual(new Map(firsts(desired)));
    }),
  );
});

test("plan() touches no row that is as wanted, and none twice", () => {
  fc.assert(
    fc.property(rows, listed, (desired, actual) => {
      const { puts, removals } = plan(table, desired, actual);
      const touched = [...puts, ...removals].map(({ key }) => key);
      expect(new Set(touched).size).toBe(touched.length);
      const wanted = firsts(desired);
      const right = actual.filter((row) => wanted.get(row.key)?.value === row.value);
      expect(right.filter(({ key }) => touched.includes(key))).toEqual([]);
    }),
  );
});

test("plan() removes rows as they were listed", () => {
  const [kept, gone] = [fakeRow("a"), fakeRow("b", "as listed")];
  const { puts, removals } = plan(table, [fakeRow("a")], [kept, gone]);
  expect(puts).toEqual([]);
  expect(removals[0]).toBe(gone);
});
