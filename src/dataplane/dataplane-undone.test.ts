// What others change, once or again and again.
import { describe, expect, test } from "vitest";
import { FakeHost } from "./fake-host.ts";
import { type FakeTable, fakeRow } from "./fake-table.ts";

const [a, b] = [fakeRow("a"), fakeRow("b")];

describe("Dataplane, when others change something,", () => {
  test("puts back what they removed, 20 ms later", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    await host.want([[table, [a, b]]]);
    table.removeByHand("a");
    await host.passes(19);
    expect(table.contents).toEqual(["b=a"]);
    await host.passes(1);
    expect(table.contents).toEqual(["a=a", "b=a"]);
    expect(host.logger.lines).toContainEqual({
      level: "info",
      message: "repairing rows that were changed by others",
      fields: { table: "routes", count: 1, rows: ["a=a"] },
    });
  });

  test("says what it found in the place of its own row", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    await host.want([[table, [a]]]);
    table.putByHand(fakeRow("a", "theirs"));
    await host.passes(20);
    expect(table.contents).toEqual(["a=a"]);
    expect(host.logger.lines.find(({ level }) => level === "info")?.fields["rows"]).toEqual(["a=a (found a=theirs)"]);
  });

  test("says so also if the row was wanted anew, equal, since it was put", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    await host.want([[table, [a]]]);
    await host.want([[table, [{ ...a }]]]);
    table.removeByHand();
    await host.passes(20);
    expect(host.logger.messages("info")).toEqual(["repairing rows that were changed by others"]);
  });

  test("does not call a row undone that is wanted otherwise meanwhile", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    await host.want([[table, [a]]]);
    table.notify();
    await host.want([[table, [fakeRow("a", "new")]]]);
    await host.passes(20);
    expect(table.contents).toEqual(["a=new"]);
    expect(host.logger.messages("info")).toEqual([]);
  });

  test("looks once at a burst, and at no table that nobody touched", async () => {
    await using host = new FakeHost();
    const [low, high] = [host.table("low"), host.table("high")];
    const rows = Array.from({ length: 100 }, (_, key) => fakeRow(String(key)));
    await host.want([
      [low, [a]],
      [high, rows],
    ]);
    low.forgetCalls();
    high.forgetCalls();
    for (const { key } of rows) high.removeByHand(key);
    await host.passes(1_000);
    expect(high.contents.length).toBe(100);
    expect(high.calls.length).toBe(2);
    expect(low.calls).toEqual([]);
  });

  test("works at once on what is wanted in the meantime", async () => {
    await using host = new FakeHost();
    const [low, high] = [host.table("low"), host.table("high")];
    await host.want([
      [low, []],
      [high, []],
    ]);
    low.notify();
    await host.want([
      [low, []],
      [high, [a]],
    ]);
    expect(high.contents).toEqual(["a=a"]);
  });

  test("does not miss a change during the listing", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    await host.want([[table, [a]]]);
    const list = table.list.bind(table);
    table.list = async (options) => {
      const answer = await list(options);
      table.removeByHand("a");
      table.list = list;
      return answer;
    };
    table.notify();
    await host.passes(100);
    expect(table.contents).toEqual(["a=a"]);
  });

  test("looks within 20 ms though changes never stop", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    await host.want([[table, [a]]]);
    table.removeByHand();
    for (let time = 0; time < 4; time++) {
      await host.passes(5);
      table.notify();
    }
    expect(table.contents).toEqual(["a=a"]);
  });

  test("lets nobody wait for a change that never stops", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    table.pause = async () => table.notify();
    await host.want([[table, [a]]]);
    const attempted = host.dataplane.attempted(host);
    await host.passes(0);
    await attempted;
    expect(table.contents).toEqual(["a=a"]);
  });

  test("is not woken by the echo of its own batch", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    await host.want([[table, [a]]]);
    table.forgetCalls();
    await host.passes(29_000);
    expect(table.calls).toEqual([]);
  });
});

describe("Dataplane, when others keep undoing a row,", () => {
  async function wage(host: FakeHost, table: FakeTable, times: number, every: number) {
    for (let time = 0; time < times; time++) {
      table.removeByHand("a");
      await host.passes(every);
    }
  }

  test("puts it back five times in a minute, then after 10 s", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    await host.want([[table, [a, b]]]);
    await wage(host, table, 5, 1_000);
    expect(table.contents).toEqual(["a=a", "b=a"]);
    table.removeByHand("a");
    await host.passes(9_900);
    expect(table.contents).toEqual(["b=a"]);
    await host.passes(200);
    expect(table.contents).toEqual(["a=a", "b=a"]);
  });

  test("goes on repairing the other rows meanwhile", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    await host.want([[table, [a, b]]]);
    await wage(host, table, 6, 100);
    table.removeByHand("b");
    await host.passes(100);
    expect(table.contents).toEqual(["b=a"]);
  });

  test("warns once for as long as it goes on, and again when it begins anew", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    await host.want([[table, [a]]]);
    await wage(host, table, 60, 1_500);
    expect(host.logger.messages("warn")).toEqual(["something else keeps undoing these rows; trying only every 10 s"]);
    await host.passes(100_000);
    expect(table.contents).toEqual(["a=a"]);
    await wage(host, table, 6, 100);
    expect(host.logger.messages("warn").length).toBe(2);
  });

  test("counts a row under truce among the problems and not as settled", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    await host.want([[table, [a]]]);
    await wage(host, table, 6, 100);
    expect(host.dataplane.problems.map(({ row, error }) => [row, error.message])).toEqual([
      ["a=a", "something else keeps undoing this"],
    ]);
    const state = host.waiting();
    await host.passes(9_000);
    expect(state.settled).toBe(false);
    await host.passes(1_000);
    expect(state.settled).toBe(true);
  });

  test("keeps the truce though other things happen in the table", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    await host.want([[table, [a]]]);
    await wage(host, table, 6, 100);
    for (let time = 0; time < 8; time++) {
      table.notify();
      await host.passes(1_000);
    }
    expect(table.contents).toEqual([]);
  });

  test("tries at once when the row is wanted otherwise", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    await host.want([[table, [a]]]);
    await wage(host, table, 6, 100);
    await host.want([[table, [fakeRow("a", "new")]]]);
    expect(table.contents).toEqual(["a=new"]);
  });
});
