import { expect, test } from "vitest";
import { FakeTable, fakeRow } from "./fake-table.ts";
import { describeTable } from "./table-conformance.ts";

const { signal } = new AbortController();

describeTable("FakeTable", async () => {
  const table = new FakeTable();
  return {
    table,
    rows: [fakeRow("a"), fakeRow("b"), fakeRow("c")],
    changed: fakeRow("a", "other"),
    removeByHand: async (row) => table.removeByHand(row.key),
    notified: async () => {},
    async [Symbol.asyncDispose]() {},
  };
});

test("FakeTable.failRow() fails that row alone, until it is told otherwise", async () => {
  const table = new FakeTable();
  table.failRow("a", new Error("no"));
  const failures = await table.apply({ puts: [fakeRow("a"), fakeRow("b")], removals: [] }, { signal });
  expect(failures).toEqual([{ row: fakeRow("a"), error: new Error("no") }]);
  expect(table.contents).toEqual(["b=a"]);
  table.failRow("a", undefined);
  expect(await table.apply({ puts: [fakeRow("a")], removals: [] }, { signal })).toEqual([]);
});

test("FakeTable.applyError leaves the first rows of the batch done", async () => {
  const table = new FakeTable();
  table.applyError = { error: new Error("cut off"), afterRows: 1 };
  await expect(table.apply({ puts: [fakeRow("a"), fakeRow("b")], removals: [] }, { signal })).rejects.toThrow(
    "cut off",
  );
  expect(table.contents).toEqual(["a=a"]);
});
