// Rows and tables that fail.
import { describe, expect, test } from "vitest";
import { FakeHost } from "./fake-host.ts";
import { fakeRow } from "./fake-table.ts";

const [a, b, c] = [fakeRow("a"), fakeRow("b"), fakeRow("c")];
const sparing = { spareUnknown: true };

describe("Dataplane, when a row fails,", () => {
  const no = new Error("add a: ENETUNREACH");

  test("puts the others, and tries it again after 0.2 s, 0.4 s and so on to 30 s", async () => {
    await using host = new FakeHost();
    const table = host.table("routes", [fakeRow("z")]);
    table.failRow("a", no);
    await host.want([[table, [a, b]]]);
    expect(table.contents).toEqual(["b=a"]);
    table.forgetCalls();
    await host.passes(10_000);
    expect(table.batches.every(({ puts }) => puts.join() === "a=a")).toBe(true);
    expect(table.batches.length).toBeGreaterThanOrEqual(5);
    expect(table.batches.length).toBeLessThanOrEqual(7);
  });

  test("says so once, and once when it is over", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    table.failRow("a", no);
    await host.want([[table, [a]]]);
    await host.passes(20_000);
    expect(host.logger.lines.filter(({ level }) => level === "warn")).toEqual([
      {
        level: "warn",
        message: "rows are not in place; will try again",
        fields: { table: "routes", count: 1, row: "a=a", reason: no.message },
      },
    ]);
    table.failRow("a", undefined);
    await host.passes(30_000);
    expect(table.contents).toEqual(["a=a"]);
    expect(host.logger.messages("info")).toEqual(["all rows are in place again"]);
    expect(host.dataplane.problems).toEqual([]);
  });

  test("tries it soon when others changed something in the table, however long it has failed", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    table.failRow("a", no);
    await host.want([[table, [a]]]);
    await host.passes(100_000);
    table.failRow("a", undefined);
    table.notify();
    await host.passes(200);
    expect(table.contents).toEqual(["a=a"]);
  });

  test("tries it as often as its table asks for", async () => {
    await using host = new FakeHost();
    const table = Object.assign(host.table("socket"), { longestRetry: 1_000 });
    table.failRow("a", no);
    await host.want([[table, [a]]]);
    await host.passes(100_000);
    table.failRow("a", undefined);
    await host.passes(1_000);
    expect(table.contents).toEqual(["a=a"]);
  });

  test("tries it at once when it is wanted otherwise, not when anything else is wanted", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    table.failRow("a", no);
    await host.want([[table, [a]]]);
    table.forgetCalls();
    await host.want([[table, [{ ...a }, b]]]);
    expect(table.batches).toEqual([{ type: "apply", puts: ["b=a"], removals: [] }]);
    await host.want([[table, [fakeRow("a", "new"), b]]]);
    expect(table.batches.at(-1)).toEqual({ type: "apply", puts: ["a=new"], removals: [] });
  });

  test("forgets it when nobody wants it any more", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    table.failRow("a", no);
    await host.want([[table, [a]]]);
    await host.want([[table, []]]);
    expect(host.dataplane.problems).toEqual([]);
    await host.dataplane.settled(host);
  });

  test("backs off likewise from a row that cannot be removed, and forgets it when it is spared or gone", async () => {
    await using host = new FakeHost();
    const table = host.table("routes", [fakeRow("z")]);
    table.failRow("z", new Error("busy"));
    await host.want([[table, [a]]]);
    expect(host.dataplane.problems.map(({ row }) => row)).toEqual(["z=a"]);
    await host.want([[table, [a]]], sparing);
    expect(host.dataplane.problems).toEqual([]);
    await host.want([[table, [a]]]);
    table.removeByHand("z");
    await host.passes(20);
    expect(host.dataplane.problems).toEqual([]);
  });

  test("takes a failure of another row than it asked for as the loss of that row", async () => {
    await using host = new FakeHost();
    const table = host.table("addresses");
    await host.want([[table, [a, b]]]);
    const apply = table.apply.bind(table);
    table.apply = async (plan, options) => {
      const failures = await apply(plan, options);
      if (plan.removals.length === 0) return failures;
      table.apply = apply;
      await apply({ puts: [], removals: [a] }, options); // the kernel takes b's secondary with it
      return [...failures, { row: a, error: new Error("gone with b") }];
    };
    await host.want([[table, [a]]]);
    expect(host.dataplane.problems.map(({ row }) => row)).toEqual(["a=a"]);
    await host.passes(200);
    expect(table.contents).toEqual(["a=a"]);
  });
});

describe("Dataplane, when a table fails,", () => {
  const busy = new Error("list routes: EBUSY");

  test("goes on with the others", async () => {
    await using host = new FakeHost();
    const [low, high] = [host.table("low"), host.table("high", [fakeRow("z")])];
    low.listError = busy;
    await host.want([
      [low, [a]],
      [high, [b]],
    ]);
    expect(high.contents).toEqual(["b=a"]);
    high.forgetCalls();
    await host.want([
      [low, [a]],
      [high, [b, c]],
    ]);
    expect(high.contents).toEqual(["b=a", "c=a"]);
    expect(high.listings).toBe(0);
  });

  test("tries it again with backoff, however often something is wanted, and never in a hurry", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    table.listError = busy;
    await host.want([[table, [a]]]);
    for (let time = 0; time < 100; time++) {
      await host.want([[table, [a, fakeRow(`n${time}`)]]]);
      await host.passes(100);
    }
    expect(table.listings).toBeGreaterThanOrEqual(6);
    expect(table.listings).toBeLessThanOrEqual(8);
  });

  test("does not turn in circles over rows of it that failed before", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    table.failRow("a", new Error("no"));
    await host.want([[table, [a]]]);
    table.listError = busy;
    table.notify();
    table.forgetCalls();
    await host.passes(10_000);
    expect(table.listings).toBeLessThanOrEqual(8);
  });

  test("says so once, and once when it is over", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    table.listError = busy;
    await host.want([[table, [a]]]);
    await host.passes(20_000);
    expect(host.logger.messages("warn")).toEqual(["table cannot be read or written; will try again"]);
    table.listError = undefined;
    await host.passes(30_000);
    expect(table.contents).toEqual(["a=a"]);
    expect(host.logger.messages("info")).toEqual(["table can be read and written again"]);
  });

  test("removes nothing from it", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    await host.want([[table, [a, b]]]);
    table.listError = busy;
    table.notify();
    await host.want([[table, [a]]]);
    expect(table.contents).toEqual(["a=a", "b=a"]);
  });

  test("finds out what of a batch that was cut off is there", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    table.applyError = { error: new Error("cut off"), afterRows: 1 };
    await host.want([[table, [a, b]]]);
    table.applyError = undefined;
    table.forgetCalls();
    await host.passes(200);
    expect(table.calls).toEqual([{ type: "list" }, { type: "apply", puts: ["b=a"], removals: [] }]);
  });
});
