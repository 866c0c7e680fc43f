import type { Abortable } from "./abortable.ts";
import type { Clock, Milliseconds } from "./clock.ts";

const PARTS = 4;

/**
 * As `clock.sleep()`, but of time in which this process did not run little counts: it was stopped, or others had the processor. A timer
 * rings before what came meanwhile is heard, and would call somebody silent who has answered long ago. Takes at most twice as long.
 */
export async function sleepAwake(clock: Clock, span: Milliseconds, options: Abortable): Promise<void> {
  const part = span / PARTS;
  for (let left = PARTS, spare = PARTS; left > 0; ) {
    const start = clock.now();
    await clock.sleep(part, options);
    if (clock.now() - start >= 2 * part && spare > 0) spare--;
    else left--;
  }
}
