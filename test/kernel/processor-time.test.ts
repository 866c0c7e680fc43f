import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { processorTime } from "../../src/kernel/processor-time.ts";

function spin(): void {
  const start = process.threadCpuUsage().user;
  while (process.threadCpuUsage().user - start < 50_000);
}

test("processorTime() counts what this thread does, and what programs do that it runs, and not how long it waits for one", () => {
  const start = processorTime();
  spin();
  const afterOwn = processorTime();
  expect(afterOwn - start).toBeGreaterThanOrEqual(50);
  execFileSync("/bin/sh", ["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done"]);
  const afterProgram = processorTime();
  expect(afterProgram - afterOwn).toBeGreaterThan(30);
  execFileSync("/bin/sleep", ["1"]);
  expect(processorTime() - afterProgram).toBeLessThan(500);
});
