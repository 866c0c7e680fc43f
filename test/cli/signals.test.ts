import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { flanneld, outcome, start, temporaryDirectory, waitingFlanneld } from "./program.ts";
import { type StopOptions, stopAfter } from "./stop-after.ts";

const SIGNALS = ["SIGTERM", "SIGINT"] as const;

async function stop(options: StopOptions) {
  using directory = temporaryDirectory();
  return await stopAfter([flanneld, ...waitingFlanneld(directory.path)], options);
}

test.each(SIGNALS)("flanneld ends with 0 within a second of %s from its first sign of life on", async (signal) => {
  for (let delay = 0; delay <= 100; delay += 10)
    expect(await stop({ delay, signal, from: "heard" })).toEqual({ delay, end: 0, inTime: true, errors: null });
});

test.each(SIGNALS)("flanneld ends with 0 within a second of %s from its first milliseconds on", async (signal) => {
  for (let delay = 0; delay <= 150; delay += 4)
    expect(await stop({ delay, signal, from: "listening" })).toEqual({ delay, end: 0, inTime: true, errors: null });
});

// A service manager hears from the very process it started, which Node lets listen to signals only after some 25 ms.
test.each(SIGNALS)("under a service manager, flanneld ends with 0 or by %s itself, without a word", async (signal) => {
  const env = { NOTIFY_SOCKET: "@nobody" };
  for (let delay = 5; delay <= 100; delay += 5) {
    const { end, inTime, errors } = await stop({ delay, signal, env, from: "spawned" });
    expect({ delay, end: end === signal ? 0 : end, inTime, errors }).toEqual({
      delay,
      end: 0,
      inTime: true,
      errors: null,
    });
  }
});

test("flanneld ends with 0 by SIGINT as a script's background job, where SIGINT is ignored at first", async () => {
  using directory = temporaryDirectory();
  const script = ["/bin/sh", "-c", '"$@" & wait $!', "sh", flanneld, ...waitingFlanneld(directory.path)];
  const target = (pid: number) => Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1")) || undefined;
  const { end } = await stopAfter(script, { delay: 400, signal: "SIGINT", from: "listening", target });
  expect(end).toBe(0);
});

test("flanneld goes with its launcher when that is killed", async () => {
  using directory = temporaryDirectory();
  const child = start(flanneld, waitingFlanneld(directory.path));
  if (child.stderr === null || child.pid === undefined) throw new Error("no output");
  await once(child.stderr, "data");
  const daemon = Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "latin1"));
  expect(readFileSync(`/proc/${daemon}/cmdline`, "latin1")).toContain("flanneld.cjs");
  const ended = outcome(child);
  child.kill("SIGKILL");
  await ended; // its output ends when the daemon has ended
  expect(existsSync(`/proc/${daemon}/exe`)).toBe(false);
});

test("flanneld ends well when it is told twice", async () => {
  using directory = temporaryDirectory();
  const child = start(flanneld, waitingFlanneld(directory.path));
  const ended = outcome(child);
  if (child.stderr === null) throw new Error("no output");
  await once(child.stderr, "data");
  child.kill("SIGTERM");
  child.kill("SIGINT");
  expect((await ended).end).toBe(0);
});
