import { explain } from "./explain.ts";
import { Lab, type LabOptions } from "./lab.ts";
import { isComplete, renderMatrix, summarize } from "./matrix.ts";
import type { PingResult } from "./ping.ts";
import { Progress } from "./progress.ts";
import type { TextOptions } from "./table.ts";
import { DeadlineError, waitUntil } from "./wait.ts";

/** How long after the last daemon is ready every pod must reach every other, ms. */
const SETTLED_WITHIN = 5000;

/** Up, what happened, the ping matrix, down. @returns the exit code: 0 only if everybody reaches everybody */
export async function runDemo(options: LabOptions, text: TextOptions): Promise<number> {
  using progress = new Progress();
  try {
    const lab = await Lab.up({ ...options, progress: progress.step });
    await using _down = lab;
    progress.step("pinging every pod from every other");
    const results = await pingUntilComplete(lab);
    progress[Symbol.dispose]();
    process.stdout.write(`\n${await explain(lab, text)}\n\n`);
    process.stdout.write(`${renderMatrix(results, text)}\n\n${summarize(results, text)}\n`);
    if (!isComplete(results))
      for (const { name, daemon } of lab.hosts) process.stdout.write(`\n${name}:\n${daemon.log()}`);
    progress.step("removing the lab");
    return isComplete(results) ? 0 : 1;
  } catch (error) {
    progress.fail();
    throw error;
  }
}

/** The last matrix, complete or not when time is up. */
async function pingUntilComplete(lab: Lab): Promise<readonly PingResult[]> {
  let last: readonly PingResult[] = [];
  const { signal } = lab;
  try {
    await waitUntil(async () => isComplete((last = await lab.ping({ timeout: 500 }))), {
      signal,
      within: SETTLED_WITHIN,
      what: "every pod reaches every other",
    });
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
  }
  return last;
}
