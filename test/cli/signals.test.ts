import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { flanneld, outcome, start, temporaryDirectory, waitingFlanneld } from "./program.ts";

const SIGNALS = ["SIGTERM", "SIGINT"] as const;

/** How a flanneld ends that is told to stop `delay` ms after its start or, if `heard`, after its first line of log. */
async function stopAfter(delay: number, signal: NodeJS.Signals, heard: boolean) {
  using directory = temporaryDirectory();
  const child = start(flanneld, waitingFlanneld(directory.path));
  const ended = outcome(child);
  await (heard && child.stderr !== null ? once(child.stderr, "data") : once(child, "spawn"));
  if (delay > 0) await sleep(delay);
  const told = performance.now();
  child.kill(signal);
  const { end, stderr } = await ended;
  return { delay, end, inTime: performance.now() - told < 1000, errors: stderr.match(/^[EF].*|^ +at .*/gm) };
}

test.each(SIGNALS)("flanneld ends with 0 within a second of %s from its first sign of life on", async (signal) => {
  for (let delay = 0; delay <= 100; delay += 10)
    expect(await stopAfter(delay, signal, true)).toEqual({ delay, end: 0, inTime: true, errors: null });
});

// Until Node lets a program listen to signals, which takes it some 25 ms, the kernel's default is what happens.
test.each(SIGNALS)("flanneld ends with 0 or by %s itself, without a word, before that", async (signal) => {
  for (let delay = 0; delay <= 100; delay += 5) {
    const { end, inTime, errors } = await stopAfter(delay, signal, false);
    expect({ delay, end: end === signal ? 0 : end, inTime, errors }).toEqual({
      delay,
      end: 0,
      inTime: true,
      errors: null,
    });
  }
});

test("flanneld ends at once on the second signal", async () => {
  using directory = temporaryDirectory();
  const child = start(flanneld, waitingFlanneld(directory.path));
  const ended = outcome(child);
  if (child.stderr === null) throw new Error("no output");
  await once(child.stderr, "data");
  child.kill("SIGTERM");
  child.kill("SIGINT");
  expect((await ended).end).toBe(0);
});
