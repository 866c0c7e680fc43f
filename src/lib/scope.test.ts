import { describe, expect, test } from "vitest";
import { Scope } from "./scope.ts";

/** Ends with the signal's reason. */
function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

describe("Scope", () => {
  test("join() resolves when every task has ended, also tasks that tasks started", async () => {
    await using scope = new Scope();
    const done: string[] = [];
    scope.spawn(async () => {
      await Promise.resolve();
      scope.spawn(async () => {
        await new Promise((resolve) => setTimeout(resolve, 5));
        done.push("inner");
      });
      done.push("outer");
    });
    await scope.join();
    expect(done).toEqual(["outer", "inner"]);
    expect(scope.signal.aborted).toBe(false);
  });

  test("join() throws what the first failing task threw, after the others were asked to stop and have", async () => {
    await using scope = new Scope();
    const bug = new TypeError("bug");
    let hasStopped = false;
    scope.spawn(async (signal) => {
      await untilAborted(signal).catch(() => new Promise((resolve) => setImmediate(resolve)));
      hasStopped = true;
    });
    scope.spawn(() => Promise.reject(bug));
    await expect(scope.join()).rejects.toBe(bug);
    expect(hasStopped).toBe(true);
    expect(scope.signal.reason).toBe(bug);
  });

  test("spawn() owns also a task that throws before it waits", async () => {
    await using scope = new Scope();
    const bug = new TypeError("bug");
    scope.spawn(() => {
      throw bug;
    });
    await expect(scope.join()).rejects.toBe(bug);
  });

  test("join() throws the parent's reason if the parent was aborted", async () => {
    const parent = new AbortController();
    await using scope = new Scope(parent.signal);
    scope.spawn(untilAborted);
    const reason = new Error("SIGTERM");
    parent.abort(reason);
    await expect(scope.join()).rejects.toBe(reason);
    expect(scope.signal.reason).toBe(reason);
  });

  test("a scope of an aborted parent is aborted from the beginning", async () => {
    const reason = new Error("SIGTERM");
    await using scope = new Scope(AbortSignal.abort(reason));
    expect(scope.signal.reason).toBe(reason);
  });

  test("join() resolves after cancel(), which is no failure", async () => {
    await using scope = new Scope();
    scope.spawn(untilAborted);
    scope.cancel();
    await scope.join();
    expect(scope.signal.aborted).toBe(true);
  });

  test("disposing stops every task, waits for it, and lets go of the parent", async () => {
    const parent = new AbortController();
    let stopped = 0;
    const scope = new Scope(parent.signal);
    for (let task = 0; task < 3; task++)
      scope.spawn(async (signal) => {
        await untilAborted(signal).catch(() => new Promise((resolve) => setImmediate(resolve)));
        stopped++;
      });
    await scope[Symbol.asyncDispose]();
    expect(stopped).toBe(3);
    expect(parent.signal.aborted).toBe(false);
  });
});
