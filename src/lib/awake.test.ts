import { expect, test } from "vitest";
import { sleepAwake } from "./awake.ts";
import type { Clock } from "./clock.ts";
import { FakeClock } from "./fake-clock.ts";

const { signal } = new AbortController();

/** A clock whose sleeps take these times in turn, then as long as they should. */
function lateClock(...late: readonly number[]) {
  let now = 0;
  const sleeps: number[] = [];
  const clock: Clock = {
    now: () => now,
    wallClock: () => new Date(0),
    async sleep(span) {
      now += late[sleeps.length] ?? span;
      sleeps.push(span);
    },
  };
  return { clock, sleeps };
}

test("sleepAwake() is over after the span", async () => {
  const clock = new FakeClock();
  const sleeping = sleepAwake(clock, 1_000, { signal });
  await clock.advance(999);
  expect(clock.sleeping).toBe(1);
  await clock.advance(1);
  expect(clock.sleeping).toBe(0);
  await sleeping;
});

test("sleepAwake() lets what came be heard after the process stood still, and counts on from there", async () => {
  const { clock, sleeps } = lateClock(250, 3_000);
  await sleepAwake(clock, 1_000, { signal });
  expect(sleeps).toEqual([250, 250, 250, 250, 250]);
});

test("sleepAwake() is over at last also where every timer is late", async () => {
  const { clock, sleeps } = lateClock(...Array.from({ length: 100 }, () => 600));
  await sleepAwake(clock, 1_000, { signal });
  expect(sleeps).toHaveLength(8);
});

test("sleepAwake() ends with the signal's reason", async () => {
  const clock = new FakeClock();
  const controller = new AbortController();
  const sleeping = sleepAwake(clock, 1_000, { signal: controller.signal });
  controller.abort(new Error("stop"));
  await expect(sleeping).rejects.toThrow("stop");
  await clock.advance(0);
  expect(clock.sleeping).toBe(0);
});
