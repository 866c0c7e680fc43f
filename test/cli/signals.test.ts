import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { flanneld, outcome, start, temporaryDirectory, waitingFlanneld } from "./program.ts";

/** How a flanneld ends that is told to stop so long after its start, and how long it takes, ms. */
async function stopAfter(delay: number, signal: NodeJS.Signals) {
  using directory = temporaryDirectory();
  const child = start(flanneld, waitingFlanneld(directory.path));
  const ended = outcome(child);
  await once(child, "spawn");
  if (delay > 0) await sleep(delay);
  const told = performance.now();
  child.kill(signal);
  const { end, stderr } = await ended;
  return { delay, end, took: performance.now() - told, stderr };
}

test.each(["SIGTERM", "SIGINT"] as const)(
  "flanneld ends cleanly within a second of %s at any moment of its start",
  async (signal) => {
    for (let delay = 0; delay <= 300; delay += 10) {
      const { end, took, stderr } = await stopAfter(delay, signal);
      expect({ delay, end, stderr: /^[EF]/m.test(stderr) ? stderr : "" }).toEqual({ delay, end: 0, stderr: "" });
      expect(took).toBeLessThan(1000);
    }
  },
);

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
