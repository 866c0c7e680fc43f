// Who waits for the loop, watches it or ends it.
import { describe, expect, test } from "vitest";
import { FakeHost } from "./fake-host.ts";
import { type FakeTable, fakeRow } from "./fake-table.ts";
import { layer } from "./table.ts";

const [a, b, c] = [fakeRow("a"), fakeRow("b"), fakeRow("c")];

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
    const state = host.waiting();
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
    const state = host.waiting();
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
    host.declare(layer(device, [a], { isFoundation: true }), layer(routes, [b, c]));
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
    host.declare(layer(device, [a], { isFoundation: true }), layer(routes, [b]));
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
      if (wantsMore) host.declare(layer(table, [a, b]));
      wantsMore = false;
      return failures;
    };
    host.declare(layer(table, [a]));
    const state = host.waiting();
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
    const state = host.waiting();
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
    host.declare(layer(table, [a]));
    await reach(host, table);
    expect(await host.stop(reason)).toBe(reason);
    expect(table.watchers).toBe(0);
    expect(host.clock.sleeping).toBe(0);
  });

  test("writes no log line for being stopped", async () => {
    const host = new FakeHost();
    const table = host.table("routes");
    host.declare(layer(table, [a]));
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
    host.declare(layer(host.table("low"), [a]), layer(host.table("high"), [b]));
    expect(host.dataplane.pulse).toEqual({ steps, isDue: true });
    await host.passes(0);
    expect(host.dataplane.pulse).toEqual({ steps: steps + 5, isDue: false }); // filled and emptied, and the pass
  });

  test("makes steps while a table says that it does", async () => {
    await using host = new FakeHost();
    const table = host.table("routes");
    const { promise, resolve } = Promise.withResolvers<void>();
    table.pause = () => promise;
    host.declare(layer(table, [a]));
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
    host.declare(layer(table, [a]));
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
