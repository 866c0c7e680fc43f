// For tests only.

import { describe, expect, test } from "vitest";
import type { Plan, Table } from "./table.ts";

/** A table of its own for one test, empty at first, and rows to put into it. */
export interface TableFixture<Row> extends AsyncDisposable {
  readonly table: Table<Row>;
  /** At least three, with different keys. */
  readonly rows: readonly [Row, Row, Row, ...Row[]];
  /** The first row with other contents under the same key; absent if a row is all key. */
  readonly changed?: Row;
  /** Rows of others in the same place, which must be neither listed nor touched. */
  readonly foreign?: { put(): Promise<void>; isThere(): Promise<boolean> };
  /** Somebody else removes the row. */
  removeByHand(row: Row): Promise<void>;
  /** Resolves when what has happened has been told. */
  notified(): Promise<void>;
}

const { signal } = new AbortController();

/** Registers tests of everything that the Table port promises, to be run by each of its implementations. */
export function describeTable<Row>(name: string, open: () => Promise<TableFixture<Row>>): void {
  const given = (body: (fixture: TableFixture<Row>) => Promise<void>) => async () => {
    await using fixture = await open();
    await body(fixture);
  };
  const put = (table: Table<Row>, ...puts: Row[]) => table.apply({ puts, removals: [] }, { signal });
  const remove = (table: Table<Row>, ...removals: Row[]) => table.apply({ puts: [], removals }, { signal });
  /** The rows listed, each as the wanted row that it equals; one that equals none reads as what it is. */
  const listed = async ({ table, rows, changed }: TableFixture<Row>) => {
    const wanted = changed === undefined ? rows : [...rows, changed];
    const there = await table.list({ signal });
    return there
      .map((actual) => wanted.find((row) => table.key(row) === table.key(actual) && table.equal(row, actual)) ?? actual)
      .map((row) => table.format(row))
      .toSorted();
  };
  const text = (table: Table<Row>, rows: readonly Row[]) => rows.map((row) => table.format(row)).toSorted();

  describe(`${name} as a Table`, () => {
    test(
      "list() is empty at first",
      given(async (fixture) => {
        expect(await listed(fixture)).toEqual([]);
      }),
    );

    test(
      "key() and format() tell rows apart",
      given(async ({ table, rows }) => {
        expect(new Set(rows.map((row) => table.key(row))).size).toBe(rows.length);
        expect(new Set(rows.map((row) => table.format(row))).size).toBe(rows.length);
      }),
    );

    test(
      "apply() puts rows that list() then shows",
      given(async (fixture) => {
        const { table, rows } = fixture;
        expect(await put(table, ...rows)).toEqual([]);
        expect(await listed(fixture)).toEqual(text(table, rows));
      }),
    );

    test(
      "apply() may put what is there",
      given(async (fixture) => {
        const { table, rows } = fixture;
        await put(table, rows[0]);
        expect(await put(table, rows[0], rows[1])).toEqual([]);
        expect(await listed(fixture)).toEqual(text(table, [rows[0], rows[1]]));
      }),
    );

    test(
      "apply() replaces a row that has other contents",
      given(async (fixture) => {
        const { table, rows, changed } = fixture;
        if (changed === undefined) return;
        await put(table, rows[0], rows[1]);
        expect(table.key(changed)).toBe(table.key(rows[0]));
        expect(table.equal(changed, rows[0])).toBe(false);
        expect(await put(table, changed)).toEqual([]);
        expect(await listed(fixture)).toEqual(text(table, [changed, rows[1]]));
      }),
    );

    test(
      "apply() removes rows as they were listed, and only those",
      given(async (fixture) => {
        const { table, rows } = fixture;
        await put(table, ...rows);
        const gone = (await table.list({ signal })).filter((row) => table.key(row) !== table.key(rows[1]));
        expect(await remove(table, ...gone)).toEqual([]);
        expect(await listed(fixture)).toEqual(text(table, [rows[1]]));
      }),
    );

    test(
      "apply() may remove what is gone",
      given(async (fixture) => {
        const { table, rows } = fixture;
        await put(table, rows[0], rows[1]);
        await fixture.removeByHand(rows[0]);
        expect(await remove(table, rows[0], rows[1])).toEqual([]);
        expect(await remove(table, rows[0])).toEqual([]);
        expect(await listed(fixture)).toEqual([]);
      }),
    );

    test(
      "apply() takes puts and removals in one batch",
      given(async (fixture) => {
        const { table, rows } = fixture;
        await put(table, rows[0], rows[1]);
        const batch: Plan<Row> = { puts: [rows[2]], removals: [rows[0]] };
        expect(await table.apply(batch, { signal })).toEqual([]);
        expect(await listed(fixture)).toEqual(text(table, [rows[1], rows[2]]));
      }),
    );

    test(
      "apply() puts a row again that others removed",
      given(async (fixture) => {
        const { table, rows } = fixture;
        await put(table, ...rows);
        await fixture.removeByHand(rows[1]);
        expect(await put(table, rows[1])).toEqual([]);
        expect(await listed(fixture)).toEqual(text(table, rows));
      }),
    );

    test(
      "rows of others are neither listed nor touched",
      given(async (fixture) => {
        const { table, rows, foreign } = fixture;
        if (foreign === undefined) return;
        await foreign.put();
        expect(await listed(fixture)).toEqual([]);
        await put(table, ...rows);
        await remove(table, ...(await table.list({ signal })));
        expect(await foreign.isThere()).toBe(true);
      }),
    );

    test(
      "watch() tells of what others do, until it is disposed of",
      given(async (fixture) => {
        const { table, rows } = fixture;
        if (table.watch === undefined) return;
        await put(table, ...rows);
        await table.list({ signal });
        let told = 0;
        const watch = table.watch(() => told++);
        await fixture.removeByHand(rows[0]);
        await fixture.notified();
        expect(told).toBeGreaterThan(0);
        watch[Symbol.dispose]();
        told = 0;
        await fixture.removeByHand(rows[1]);
        await fixture.notified();
        expect(told).toBe(0);
      }),
    );

    test(
      "watch() does not tell of what apply() does",
      given(async (fixture) => {
        const { table, rows, changed } = fixture;
        if (table.watch === undefined) return;
        await table.list({ signal });
        let told = 0;
        using _watch = table.watch(() => told++);
        await put(table, ...rows);
        if (changed !== undefined) await put(table, changed);
        await remove(table, rows[1]);
        await fixture.notified();
        expect(told).toBe(0);
      }),
    );

    test(
      "list() and apply() reject with the reason of an abort",
      given(async ({ table, rows }) => {
        const aborted = AbortSignal.abort(new Error("enough"));
        await expect(table.list({ signal: aborted })).rejects.toThrow("enough");
        await expect(table.apply({ puts: [rows[0]], removals: [] }, { signal: aborted })).rejects.toThrow("enough");
      }),
    );
  });
}
