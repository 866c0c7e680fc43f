import { describe, expect, test } from "vitest";
import { Alarm } from "./alarm.ts";
import { FakeClock } from "./fake-clock.ts";

function setUp() {
  const clock = new FakeClock();
  const start = clock.now();
  const rung: number[] = [];
  const alarm = new Alarm(clock, () => rung.push(clock.now() - start));
  return { clock, alarm, rung, at: (span: number) => start + span };
}

describe("Alarm", () => {
  test("Alarm rings once at its time", async () => {
    const { clock, alarm, rung, at } = setUp();
    alarm.set(at(10));
    await clock.advance(9);
    expect(rung).toEqual([]);
    await clock.advance(100);
    expect(rung).toEqual([10]);
  });

  test("Alarm keeps the earlier of two times, in whichever order they are set", async () => {
    const { clock, alarm, rung, at } = setUp();
    alarm.set(at(10));
    alarm.set(at(20));
    expect(clock.sleeping).toBe(1);
    await clock.advance(15);
    expect(rung).toEqual([10]);
    alarm.set(at(40));
    alarm.set(at(30));
    expect(clock.sleeping).toBe(1);
    await clock.advance(100);
    expect(rung).toEqual([10, 30]);
  });

  test("Alarm that is set to a time gone by rings soon", async () => {
    const { clock, alarm, rung, at } = setUp();
    alarm.set(at(-5));
    await clock.advance(0);
    expect(rung).toEqual([0]);
  });

  test("Alarm is silent once it is disposed of", async () => {
    const { clock, alarm, rung, at } = setUp();
    alarm.set(at(10));
    alarm[Symbol.dispose]();
    await clock.advance(100);
    expect(rung).toEqual([]);
    expect(clock.sleeping).toBe(0);
  });
});
