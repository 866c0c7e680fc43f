import { describe, expect, onTestFinished, test } from "vitest";
import { FakeClock } from "../lib/fake-clock.ts";
import type { Pulse } from "../lib/pulse.ts";
import { RecordingLogger } from "../lib/recording-logger.ts";
import { Liveness } from "./liveness.ts";
import { ServiceManager } from "./service-manager.ts";
import { runWatchdog, takeWatchdogTimeout } from "./watchdog.ts";

describe("takeWatchdogTimeout()", () => {
  test.each([
    [{ WATCHDOG_USEC: "30000000" }, 30_000],
    [{ WATCHDOG_USEC: "30000000", WATCHDOG_PID: "77" }, 30_000],
    [{ WATCHDOG_USEC: "500" }, 0.5],
    [{ WATCHDOG_USEC: "30000000", WATCHDOG_PID: "78" }, undefined],
    [{ WATCHDOG_USEC: "30000000", WATCHDOG_PID: "" }, undefined],
    [{ WATCHDOG_USEC: "0" }, undefined],
    [{ WATCHDOG_USEC: "-5" }, undefined],
    [{ WATCHDOG_USEC: "30s" }, undefined],
    [{ WATCHDOG_USEC: "" }, undefined],
    [{ WATCHDOG_USEC: "9".repeat(40) }, undefined],
    [{ WATCHDOG_PID: "77" }, undefined],
    [{}, undefined],
  ])("of %j is %s, and nothing is left for programs that we start", (variables, timeout) => {
    const env: Record<string, string | undefined> = { ...variables, PATH: "/bin" };
    expect(takeWatchdogTimeout(env, 77)).toBe(timeout);
    expect(env).toEqual({ PATH: "/bin" });
  });
});

/** A watchdog of 40 s: it looks each 10 s. */
function watched() {
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  const liveness = new Liveness();
  let alive = 0;
  const manager = new ServiceManager({ socket: "/notify", send: () => alive++, logger });
  const stop = new AbortController();
  const { signal } = stop;
  const running = runWatchdog({ timeout: 40_000, liveness, manager, clock, logger, signal }).catch(() => {});
  onTestFinished(async () => {
    stop.abort();
    await running;
  });
  return {
    clock,
    liveness,
    logger,
    /** How often it was told that we are well, since this was asked last. */
    alive: () => {
      const count = alive;
      alive = 0;
      return count;
    },
  };
}

test("runWatchdog() tells four times within the time that we are well", async () => {
  const { clock, alive } = watched();
  await clock.advance(0);
  expect(alive()).toBe(1);
  await clock.advance(40_000);
  expect(alive()).toBe(4);
});

test("runWatchdog() is silent while a loop that has something to do makes no step, and says which", async () => {
  const { clock, alive, liveness, logger } = watched();
  let pulse: Pulse = { steps: 7, isDue: true };
  using _ = liveness.watch('the reconcile loop of network "blue"', () => pulse);
  await clock.advance(10_000);
  alive();
  expect(logger.lines).toEqual([]); // a step may take a while
  await clock.advance(40_000);
  expect(alive()).toBe(0);
  expect(logger.lines).toEqual([
    {
      level: "error",
      message: "something is stuck: unless it goes on, the service manager starts us anew",
      fields: { stuck: 'the reconcile loop of network "blue"' },
    },
  ]);
  pulse = { steps: 8, isDue: true };
  await clock.advance(10_000);
  expect(alive()).toBe(1);
  expect(logger.messages("info")).toEqual(["what was stuck goes on"]);
});

test("runWatchdog() takes a loop that rests for well, and one that makes steps however slowly", async () => {
  const { clock, alive, liveness, logger } = watched();
  let steps = 0;
  using _rests = liveness.watch("one that rests", () => ({ steps: 0, isDue: false }));
  using _slow = liveness.watch("a slow one", () => ({ steps: steps++, isDue: true }));
  await clock.advance(0);
  alive();
  await clock.advance(100_000);
  expect(alive()).toBe(10);
  expect(logger.lines).toEqual([]);
});

test("runWatchdog() forgets a loop that has ended", async () => {
  const { clock, alive, liveness } = watched();
  const watch = liveness.watch("one that ends", () => ({ steps: 0, isDue: true }));
  await clock.advance(20_000);
  watch[Symbol.dispose]();
  alive();
  await clock.advance(10_000);
  expect(alive()).toBe(1);
});

test("Liveness.observer() needs two looks of its own: a host that slept in between two steps has no stuck loops", () => {
  const liveness = new Liveness();
  let steps = 0;
  using _ = liveness.watch("loop", () => ({ steps, isDue: true }));
  const [look, another] = [liveness.observer(), liveness.observer()];
  expect(look()).toEqual([]);
  steps = 1;
  expect(look()).toEqual([]);
  expect(another()).toEqual([]);
  expect(look()).toEqual(["loop"]);
});
