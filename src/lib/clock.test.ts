import { describe, expect, test } from "vitest";
import { systemClock } from "./clock.ts";
import { FakeClock } from "./fake-clock.ts";

const LONG = 2 ** 31;

describe("systemClock", () => {
  test("systemClock.sleep() is over after the span, and at once if it is not positive", async () => {
    const { signal } = new AbortController();
    const before = performance.now();
    await systemClock.sleep(30, { signal });
    expect(performance.now() - before).toBeGreaterThanOrEqual(29);
    for (const span of [0, -1, Number.NEGATIVE_INFINITY, Number.NaN]) {
      let nextTurn = false;
      setImmediate(() => {
        nextTurn = true;
      });
      await systemClock.sleep(span, { signal });
      expect(nextTurn).toBe(false);
    }
  });

  test.each([LONG - 1, LONG, LONG + 1, 2 ** 53, Number.POSITIVE_INFINITY])(
    "systemClock.sleep(%s) does not end at once, as a bare timer would",
    async (span) => {
      const controller = new AbortController();
      let isOver = false;
      const sleeping = async () => {
        await systemClock.sleep(span, { signal: controller.signal });
        isOver = true;
      };
      const sleep = sleeping();
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(isOver).toBe(false);
      const reason = new Error("stop");
      controller.abort(reason);
      await expect(sleep).rejects.toBe(reason);
    },
  );

  test("systemClock.sleep() throws the reason of a signal that is aborted already", async () => {
    const reason = new Error("stop");
    await expect(systemClock.sleep(0, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    await expect(systemClock.sleep(10, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  test("systemClock.now() counts milliseconds since boot", async () => {
    const start = performance.now();
    const before = systemClock.now();
    expect(before).toBeGreaterThan(0);
    await systemClock.sleep(50, new AbortController());
    const passed = systemClock.now() - before;
    expect(passed).toBeGreaterThanOrEqual(30);
    expect(passed).toBeLessThan(performance.now() - start + 1_000);
  });
});

describe("FakeClock", () => {
  test("FakeClock.advance() wakes sleepers in order, each at its own time", async () => {
    const clock = new FakeClock();
    const { signal } = new AbortController();
    const start = clock.now();
    const woken: [string, number][] = [];
    const sleeper = async (name: string, span: number) => {
      await clock.sleep(span, { signal });
      woken.push([name, clock.now() - start]);
    };
    void sleeper("later", 200);
    void sleeper("sooner", 100).then(() => sleeper("again", 50));
    void sleeper("never", Number.POSITIVE_INFINITY);
    void sleeper("much later", LONG * 2);
    await clock.advance(300);
    expect(woken).toEqual([
      ["sooner", 100],
      ["again", 150],
      ["later", 200],
    ]);
    await clock.advance(LONG * 2);
    expect(woken.at(-1)).toEqual(["much later", LONG * 2]);
    expect(clock.sleeping).toBe(1);
  });

  test("FakeClock.sleep() ends by its signal and leaves nothing behind", async () => {
    const clock = new FakeClock();
    const controller = new AbortController();
    const reason = new Error("stop");
    const sleep = clock.sleep(100, { signal: controller.signal });
    expect(clock.sleeping).toBe(1);
    controller.abort(reason);
    await expect(sleep).rejects.toBe(reason);
    await expect(clock.sleep(0, { signal: controller.signal })).rejects.toBe(reason);
    expect(clock.sleeping).toBe(0);
  });

  test("FakeClock.wallClock() goes with it", async () => {
    const clock = new FakeClock();
    const before = clock.wallClock().getTime();
    await clock.advance(86_400_000);
    expect(clock.wallClock().getTime() - before).toBe(86_400_000);
  });
});
