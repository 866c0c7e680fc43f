import { describe, expect, test } from "vitest";
import { FakeClock } from "../../lib/fake-clock.ts";
import { type Progress, whileAlive } from "./watchdog.ts";

/** Work that ends only by its signal, with the signal's reason. */
function endless(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
}

const late = () => new Error("late");
const never = new AbortController().signal;

describe("whileAlive()", () => {
  test("gives what the work gives and leaves no timer", async () => {
    const clock = new FakeClock();
    expect(await whileAlive({ clock, silence: 100, signal: never, late }, async () => 7)).toBe(7);
    await clock.advance(0);
    expect(clock.sleeping).toBe(0);
  });

  test("aborts work that makes no progress", async () => {
    const clock = new FakeClock();
    const work = whileAlive({ clock, silence: 100, signal: never, late }, endless).catch(String);
    await clock.advance(99);
    expect(clock.sleeping).toBe(1);
    await clock.advance(1);
    expect(await work).toBe("Error: late");
  });

  test("lets work go on as long as it makes progress", async () => {
    const clock = new FakeClock();
    let progress: Progress = () => undefined;
    let ended = false;
    const work = whileAlive({ clock, silence: 100, signal: never, late }, (signal, moved) => {
      progress = moved;
      return endless(signal);
    }).catch((error: unknown) => {
      ended = true;
      return String(error);
    });
    for (let round = 0; round < 10; round++) {
      await clock.advance(90);
      progress();
    }
    expect(ended).toBe(false);
    await clock.advance(100);
    expect(await work).toBe("Error: late");
  });

  test("aborts work with the caller's reason", async () => {
    const clock = new FakeClock();
    const stop = new AbortController();
    const work = whileAlive({ clock, silence: 100, signal: stop.signal, late }, endless);
    stop.abort(new Error("stop"));
    await expect(work).rejects.toThrow("stop");
    await clock.advance(0);
    expect(clock.sleeping).toBe(0);
  });
});
