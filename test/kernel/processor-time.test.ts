import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { processorTime } from "../../src/kernel/processor-time.ts";

/** Prints at its end what it used, `0m0.45s 0m0.01s` and the same of its children: none. */
const LOOP = "i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done; times";
/** What times in /proc are rounded to. */
const TICK = 20;

function spin(): void {
  const start = process.threadCpuUsage().user;
  while (process.threadCpuUsage().user - start < 50_000);
}

test("processorTime() counts what this thread does, and what programs do that it runs, and not how long it waits for one", () => {
  const start = processorTime();
  spin();
  const afterOwn = processorTime();
  expect(afterOwn - start).toBeGreaterThanOrEqual(50);
  const said = execFileSync("/bin/sh", ["-c", LOOP], { encoding: "utf8" });
  const afterProgram = processorTime();
  const [user = 0, system = 0] = Array.from(said.matchAll(/0m([\d.]+)s/g), ([, seconds]) => Number(seconds) * 1_000);
  expect(user).toBeGreaterThan(100);
  expect(afterProgram - afterOwn).toBeGreaterThanOrEqual(user + system - TICK);
  execFileSync("/bin/sleep", ["1"]);
  expect(processorTime() - afterProgram).toBeLessThan(500);
});
