import { describe, expect, test } from "vitest";
import { FakeHost } from "./fake-host.ts";
import { FakeTable, fakeRow } from "./fake-table.ts";
import { layer } from "./table.ts";

const [a, b, c] = [fakeRow("a"), fakeRow("b"), fakeRow("c")];
const sparing = { spareUnknown: true };

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
      host.declare(layer(table, [a]));
      host.declare(layer(table, [a, b]));
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
      if (call.type === "list") host.declare(layer(present, [b]));
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
