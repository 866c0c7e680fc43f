import { describe, expect, test } from "vitest";
import { FakeHost } from "./fake-host.ts";
import { FakeTable, fakeRow } from "./fake-table.ts";
import { type Layer, layer } from "./table.ts";

const [a, b, c] = [fakeRow("a"), fakeRow("b"), fakeRow("c")];
const sparing = { spareUnknown: true };

/** Wants them before anything else happens. */
function want(host: FakeHost, ...layers: readonly Layer[]): void {
  host.dataplane.want(() => ({ layers, spareUnknown: true }));
}

/** Which of both have resolved. */
function waiting(host: FakeHost): { readonly attempted: boolean; readonly settled: boolean } {
  const state = { attempted: false, settled: false };
  const wait = async (name: "attempted" | "settled") => {
    await host.dataplane[name](host);
    state[name] = true;
  };
  wait("attempted").catch(() => {});
  wait("settled").catch(() => {});
  return state;
}

describe("Dataplane.want()", () => {
  test("makes a table hold what is wanted and nothing else", async () => {
    await using host = new FakeHost();
    const table = host.table("routes", [fakeRow("b", "old"), fakeRow("z")]);
    await host.want([[table, [a, b]]]);
    expect(table.contents).toEqual(["a=a", "b=a"]);
  });

  test("fills layers in order and empties them in reverse, every put before any removal", async () => {
    await using host = new FakeHost();
    const [low, high] = [host.table("low", [fakeRow("y")]), host.table("high", [fakeRow("z")])];
    await host.want([
      [low, [a]],
      [high, [b]],
    ]);
    expect(host.journal).toEqual([
      "list low",
      "put low a=a",
      "list high",
      "put high b=a",
      "remove high z=a",
      "remove low y=a",
    ]);
  });

  test("touches only what changed, without listing again", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    await host.want([[table, [a, b]]]);
    table.forgetCalls();
    await host.want([[table, [b, c]]]);
    expect(table.calls).toEqual([
      { type: "apply", puts: ["c=a"], removals: [] },
      { type: "apply", puts: [], removals: ["a=a"] },
    ]);
  });

  test("does nothing for equal rows that are other objects", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    await host.want([[table, [a, b]]]);
    table.forgetCalls();
    await host.want([[table, [{ ...b }, { ...a }]]]);
    await host.want([[table, [{ ...b }, { ...a }]]]);
    expect(table.calls).toEqual([]);
  });

  test("of two rows with one key puts the first, and comes to rest", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    const twice = [fakeRow("a", "first"), fakeRow("a", "second")];
    await host.want([[table, twice]]);
    expect(table.contents).toEqual(["a=first"]);
    table.forgetCalls();
    await host.want([[table, [...twice]]]);
    expect(table.calls).toEqual([]);
    await host.want([[table, twice.slice(1)]]);
    expect(table.contents).toEqual(["a=second"]);
  });

  test("makes a burst one pass", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    await host.want([[table, []]]);
    table.forgetCalls();
    let asked = 0;
    for (let index = 0; index < 100; index++) {
      const rows = Array.from({ length: index }, (_, key) => fakeRow(String(key)));
      host.dataplane.want(() => {
        asked++;
        return { layers: [layer(table, rows)], spareUnknown: true };
      });
      await Promise.resolve();
    }
    await host.passes(0);
    expect([asked, table.batches.length]).toEqual([1, 1]);
    await host.passes(100_000);
    expect(asked).toBe(1);
    expect(table.contents.length).toBe(99);
  });

  test("makes what comes during a pass one more pass", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    table.pause = async (call) => {
      if (call.type !== "list") return;
      want(host, layer(table, [a]));
      want(host, layer(table, [a, b]));
    };
    await host.want([[table, []]]);
    expect(table.contents).toEqual(["a=a", "b=a"]);
    expect(table.batches.length).toBe(1);
  });

  test("leaves a table as it is that no layer names any more, and does not watch it", async () => {
    await using host = new FakeHost();
    const [former, present] = [host.table("former"), host.table("present")];
    await host.want([[former, [a]]]);
    await host.want([[present, [b]]]);
    former.forgetCalls();
    former.putByHand(c);
    await host.passes(100_000);
    expect(former.calls).toEqual([]);
    expect(former.contents).toEqual(["a=a", "c=a"]);
    expect([former.watchers, present.watchers]).toEqual([0, 1]);
  });

  test("takes up another table that comes while a pass works, and leaves the former as that pass made it", async () => {
    await using host = new FakeHost();
    const [former, present] = [host.table("former"), host.table("present")];
    former.pause = async (call) => {
      if (call.type === "list") want(host, layer(present, [b]));
    };
    await host.want([[former, [a]]]);
    former.pause = async () => {};
    former.removeByHand();
    await host.passes(1_000);
    expect([former.contents, present.contents]).toEqual([[], ["b=a"]]);
  });

  test("ends the loop if a table is in two layers", async () => {
    const host = new FakeHost();
    const table = host.table("routes");
    await host.want([
      [table, [a]],
      [table, [b]],
    ]);
    expect(await host.stop()).toEqual(new Error("a table is wanted in two layers"));
  });

  test("does nothing after the end, and watches nothing", async () => {
    const host = new FakeHost();
    const table = host.table("routes");
    await host.stop();
    await host.want([[table, [a]]]);
    expect([table.contents, table.watchers]).toEqual([[], 0]);
  });
});

describe("Dataplane.want() with spareUnknown", () => {
  test("leaves rows alone that it never wanted", async () => {
    await using host = new FakeHost();
    const table = host.table("routes", [fakeRow("old")]);
    await host.want([[table, [a]]], sparing);
    await host.want([[table, [b]]], sparing);
    expect(table.contents).toEqual(["b=a", "old=a"]);
  });

  test("still corrects a row whose key is wanted", async () => {
    await using host = new FakeHost();
    const table = host.table("routes", [fakeRow("a", "old")]);
    await host.want([[table, [a]]], sparing);
    expect(table.contents).toEqual(["a=a"]);
  });

  test("removes a row that was wanted once, also one that it found there and one that it wanted without sparing", async () => {
    await using host = new FakeHost();
    const table = host.table("routes", [a, fakeRow("old")]);
    await host.want([[table, [a]]], sparing);
    await host.want([[table, []]], sparing);
    expect(table.contents).toEqual(["old=a"]);
    await host.want([[table, [b]]]);
    await host.want([[table, []]], sparing);
    expect(table.contents).toEqual([]);
  });

  test("removes a row that was wanted once also after a listing in between", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    await host.want([[table, [a]]], sparing);
    table.notify();
    await host.passes(20);
    expect(table.listings).toBe(2);
    await host.want([[table, []]], sparing);
    expect(table.contents).toEqual([]);
  });

  test("removes a row whose batch failed as a whole though it was put", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    table.applyError = { error: new Error("cut off"), afterRows: 1 };
    await host.want([[table, [a, b]]], sparing);
    expect(table.contents).toEqual(["a=a"]);
    table.applyError = undefined;
    await host.want([[table, [b]]], sparing);
    await host.passes(1_000);
    expect(table.contents).toEqual(["b=a"]);
  });

  test("removes the others as soon as it ends", async () => {
    await using host = new FakeHost();
    const table = host.table("routes", [fakeRow("old")]);
    const rows = [a];
    await host.want([[table, rows]], sparing);
    await host.want([[table, rows]]);
    expect(table.contents).toEqual(["a=a"]);
  });
});

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
    const state = waiting(host);
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

describe("Dataplane.resync()", () => {
  test("finds what was changed without notice", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    table.watch = () => ({ [Symbol.dispose]() {} });
    await host.want([[table, [a]]]);
    table.removeByHand();
    host.dataplane.resync();
    await host.dataplane.settled(host);
    expect(table.contents).toEqual(["a=a"]);
  });

  test("comes by itself every 30 s, however much is wanted in between", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    await host.want([[table, []]]);
    for (let time = 0; time < 95; time++) {
      await host.want([[table, [fakeRow(`n${time}`)]]]);
      await host.passes(1_000);
    }
    expect(table.listings).toBe(1 + 3);
  });
});

describe("Dataplane.attempted(), founded() and settled()", () => {
  test("resolve at once when nothing is wanted", async () => {
    await using host = new FakeHost();
    await expect(host.dataplane.attempted(host)).resolves.toBeUndefined();
    await expect(host.dataplane.settled(host)).resolves.toBeUndefined();
  });

  test("resolve not before the rows are there", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    const gate = Promise.withResolvers<void>();
    table.pause = (call) => (call.type === "apply" ? gate.promise : Promise.resolve());
    await host.want([[table, [a]]]);
    const state = waiting(host);
    await host.passes(1_000);
    expect(state).toEqual({ attempted: false, settled: false });
    gate.resolve();
    await host.passes(0);
    expect(state).toEqual({ attempted: true, settled: true });
    expect(table.contents).toEqual(["a=a"]);
  });

  test("tell failing rows apart: attempted() does not wait for them, settled() does", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    table.failRow("a", new Error("no"));
    await host.want([[table, [a]]]);
    const state = waiting(host);
    await host.passes(5_000);
    expect(state).toEqual({ attempted: true, settled: false });
    table.failRow("a", undefined);
    await host.passes(10_000);
    expect(state.settled).toBe(true);
  });

  test("founded() waits for the foundations, and of other rows only until they have been tried", async () => {
    await using host = new FakeHost();
    const [device, routes] = [host.table("device"), host.table("routes")];
    device.failRow("a", new Error("no"));
    routes.failRow("b", new Error("never"));
    want(host, layer(device, [a], { isFoundation: true }), layer(routes, [b, c]));
    let isFounded = false;
    const founded = (async () => {
      await host.dataplane.founded(host);
      isFounded = true;
    })();
    await host.passes(5_000);
    expect(isFounded).toBe(false);
    device.failRow("a", undefined);
    await host.passes(10_000);
    await founded;
    expect([...device.contents, ...routes.contents]).toEqual(["a=a", "c=a"]);
  });

  test("what failed for want of a foundation is in place as soon as that is", async () => {
    await using host = new FakeHost();
    const [device, routes] = [host.table("device"), host.table("routes")];
    const missing = new Error("no such device");
    const begun = host.clock.now();
    device.failRow("a", missing);
    routes.failRow("b", missing);
    device.pause = async (call) => {
      if (call.type !== "apply" || host.clock.now() <= begun + 60_000) return;
      device.failRow("a", undefined);
      routes.failRow("b", undefined);
    };
    want(host, layer(device, [a], { isFoundation: true }), layer(routes, [b]));
    await host.passes(60_000); // both wait half a minute by now, and not for each other
    while (device.contents.length === 0) await host.passes(10);
    expect(routes.contents).toEqual(["b=a"]);
  });

  test("settled() waits also for what is wanted while the last pass is under way", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    const gate = Promise.withResolvers<void>();
    table.pause = (call) => (call.type === "apply" && call.puts.includes("b=a") ? gate.promise : Promise.resolve());
    let wantsMore = true;
    const watched = table.apply.bind(table);
    table.apply = async (plan, options) => {
      const failures = await watched(plan, options);
      if (wantsMore) want(host, layer(table, [a, b]));
      wantsMore = false;
      return failures;
    };
    want(host, layer(table, [a]));
    const state = waiting(host);
    await host.passes(0);
    expect(state).toEqual({ attempted: true, settled: false });
    gate.resolve();
    await host.passes(0);
    expect(state.settled).toBe(true);
  });

  test("settled() waits for a change of others that has been announced", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    await host.want([[table, [a]]]);
    table.removeByHand();
    const state = waiting(host);
    await host.passes(10);
    expect(state).toEqual({ attempted: true, settled: false });
    await host.passes(10);
    expect(state.settled).toBe(true);
  });

  test("reject with the reason of an abort", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    table.listError = new Error("no");
    const controller = new AbortController();
    await host.want([[table, [a]]]);
    const settled = host.dataplane.settled(controller);
    controller.abort(new Error("enough"));
    await expect(settled).rejects.toThrow("enough");
    await expect(host.dataplane.attempted(controller)).resolves.toBeUndefined();
  });
});

describe("Dataplane.run()", () => {
  const reason = new Error("enough");
  const stops: readonly (readonly [string, (host: FakeHost, table: FakeTable) => Promise<void>])[] = [
    ["before the first pass", async () => {}],
    ["while it waits", (host) => host.passes(0)],
    ["while it lists", (host, table) => stuckIn(host, table, "list")],
    ["while it applies", (host, table) => stuckIn(host, table, "apply")],
    [
      "while a table rests",
      async (host, table) => {
        table.listError = new Error("no");
        await host.passes(50);
      },
    ],
    [
      "while a change is about to be looked at",
      async (host, table) => {
        await host.passes(0);
        table.notify();
      },
    ],
  ];

  async function stuckIn(host: FakeHost, table: FakeTable, type: "list" | "apply") {
    table.pause = (call) =>
      call.type !== type
        ? Promise.resolve()
        : new Promise((_, reject) => host.signal.addEventListener("abort", () => reject(host.signal.reason)));
    await host.passes(0);
  }

  test.each(stops)("rejects with the reason when it is aborted %s, and watches nothing any more", async (_, reach) => {
    const host = new FakeHost();
    const table = host.table("routes");
    want(host, layer(table, [a]));
    await reach(host, table);
    expect(await host.stop(reason)).toBe(reason);
    expect(table.watchers).toBe(0);
    expect(host.clock.sleeping).toBe(0);
  });

  test("writes no log line for being stopped", async () => {
    const host = new FakeHost();
    const table = host.table("routes");
    want(host, layer(table, [a]));
    await stuckIn(host, table, "apply");
    await host.stop(reason);
    expect(host.logger.lines).toEqual([]);
  });

  test("leaves no timer behind when it is woken often", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    for (let time = 0; time < 50; time++) {
      await host.want([[table, [fakeRow(String(time))]]]);
      table.notify();
    }
    expect(host.clock.sleeping).toBeLessThanOrEqual(1);
  });
});

describe("Dataplane.pulse", () => {
  test("is due from the moment something is wanted until it was tried, and makes a step for each table", async () => {
    await using host = new FakeHost();
    await host.passes(0);
    const { steps } = host.dataplane.pulse;
    expect(host.dataplane.pulse.isDue).toBe(false);
    want(host, layer(host.table("low"), [a]), layer(host.table("high"), [b]));
    expect(host.dataplane.pulse).toEqual({ steps, isDue: true });
    await host.passes(0);
    expect(host.dataplane.pulse).toEqual({ steps: steps + 5, isDue: false }); // filled and emptied, and the pass
  });

  test("makes steps while a table says that it does", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    const { promise, resolve } = Promise.withResolvers<void>();
    table.pause = () => promise;
    want(host, layer(table, [a]));
    await host.passes(0);
    const { steps } = host.dataplane.pulse;
    table.steps = 7;
    expect(host.dataplane.pulse).toEqual({ steps: steps + 7, isDue: true });
    resolve();
  });

  test("stays due without a step while a table does not answer", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    const { promise, resolve } = Promise.withResolvers<void>();
    table.pause = () => promise;
    want(host, layer(table, [a]));
    await host.passes(0);
    const stuck = host.dataplane.pulse;
    expect(stuck.isDue).toBe(true);
    await host.passes(60_000);
    expect(host.dataplane.pulse).toEqual(stuck);
    resolve();
    await host.passes(0);
    expect(host.dataplane.pulse.isDue).toBe(false);
    expect(host.dataplane.pulse.steps).toBeGreaterThan(stuck.steps);
  });
});

describe("a table with a pace of its own", () => {
  test("is compared at that pace, and others at theirs", async () => {
    await using host = new FakeHost();
    const slow = new FakeTable("slow", { resyncEvery: 600_000 });
    const usual = host.table("usual");
    await host.want([
      [slow, [a]],
      [usual, [b]],
    ]);
    await host.passes(590_000);
    expect(slow.listings).toBe(1);
    expect(usual.listings).toBe(20);
    await host.passes(20_000);
    expect(slow.listings).toBe(2);
    await host.passes(600_000);
    expect(slow.listings).toBe(3);
  });

  test("is compared when everything is", async () => {
    await using host = new FakeHost();
    const slow = new FakeTable("slow", { resyncEvery: 600_000 });
    await host.want([[slow, [a]]]);
    host.dataplane.resync();
    await host.passes(0);
    expect(slow.listings).toBe(2);
  });

  test("is left to rest while it cannot be listed, though its time has come", async () => {
    await using host = new FakeHost();
    const slow = new FakeTable("slow", { resyncEvery: 5_000 });
    await host.want([[slow, [a]]]);
    slow.listError = new Error("throttled");
    await host.passes(300_000);
    expect(slow.listings).toBeLessThan(25);
    slow.listError = undefined;
    await host.passes(30_000);
    expect(slow.contents).toEqual(["a=a"]);
  });
});
