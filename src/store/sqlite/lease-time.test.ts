import { expect, test } from "vitest";
import type { Clock } from "../../lib/clock.ts";
import { expiry, LeaseTime } from "./lease-time.ts";

const HOUR = 60 * 60_000;
const TTL = 24 * HOUR;
const BOOT = 3;

/** Both clocks as they are told. */
function clocks(now: number, wall: number) {
  const state = { now, wall };
  const clock: Clock = { now: () => state.now, wallClock: () => new Date(state.wall), sleep: () => Promise.reject() };
  return { state, clock };
}

test("LeaseTime.remaining() counts down on the clock that counts from boot", () => {
  const { state, clock } = clocks(5 * HOUR, 1000 * HOUR);
  const time = new LeaseTime(clock, TTL);
  const row = time.end(time.read(), BOOT);
  expect(time.remaining(row, time.read(), BOOT)).toBe(TTL);
  state.now += HOUR;
  expect(time.remaining(row, time.read(), BOOT)).toBe(TTL - HOUR);
  state.now += TTL;
  expect(time.remaining(row, time.read(), BOOT)).toBe(-HOUR);
});

test("LeaseTime.remaining() does not care for steps of the wall clock, before or after this process began", () => {
  for (const step of [-10_000 * HOUR, 10_000 * HOUR]) {
    const writer = clocks(5 * HOUR, 100_000 * HOUR);
    const row = new LeaseTime(writer.clock, TTL).end(new LeaseTime(writer.clock, TTL).read(), BOOT);
    const reader = clocks(6 * HOUR, 100_001 * HOUR + step);
    const time = new LeaseTime(reader.clock, TTL);
    expect(time.remaining(row, time.read(), BOOT)).toBe(TTL - HOUR);
    reader.state.wall += step;
    expect(time.remaining(row, time.read(), BOOT)).toBe(TTL - HOUR);
  }
});

test("LeaseTime.remaining() goes by the wall clock for a lease from before the boot, as that clock was when we began", () => {
  const writer = clocks(500 * HOUR, 100_000 * HOUR);
  const row = new LeaseTime(writer.clock, TTL).end(new LeaseTime(writer.clock, TTL).read(), BOOT);
  const reader = clocks(0.5 * HOUR, 100_004 * HOUR);
  const time = new LeaseTime(reader.clock, TTL);
  expect(time.remaining(row, time.read(), BOOT + 1)).toBe(TTL - 4 * HOUR);
  reader.state.wall += 10_000 * HOUR;
  reader.state.now += HOUR;
  expect(time.remaining(row, time.read(), BOOT + 1)).toBe(TTL - 5 * HOUR);
});

test("LeaseTime.remaining() is at most a TTL, even if the wall clock was put back over the boot", () => {
  const writer = clocks(500 * HOUR, 100_000 * HOUR);
  const row = new LeaseTime(writer.clock, TTL).end(new LeaseTime(writer.clock, TTL).read(), BOOT);
  const time = new LeaseTime(clocks(HOUR, 0).clock, TTL);
  expect(time.remaining(row, time.read(), BOOT + 1)).toBe(TTL);
});

test("LeaseTime.remaining() is undefined in a reservation", () => {
  const time = new LeaseTime(clocks(HOUR, HOUR).clock, TTL);
  expect(time.remaining({ expires: null, boot: null, uptime: null }, time.read(), BOOT)).toBeUndefined();
  expect(expiry(time.read(), undefined)).toEqual({});
});

test("expiry() tells the same moment by both clocks", () => {
  expect(expiry({ instant: 5, wallClock: 1_000 }, 10)).toEqual({ expiresAt: 15, expiration: new Date(1_010) });
});
