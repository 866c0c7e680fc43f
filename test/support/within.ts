import { waitFor } from "../../src/lab/wait.ts";
import type { Milliseconds } from "../../src/lib/clock.ts";
import { orAbort } from "../../src/lib/or-abort.ts";

const { signal } = new AbortController();

/** What comes of something that is under way already and has a deadline, as `waitFor()` counts it. @throws {DeadlineError} */
export function within<T>(deadline: Milliseconds, what: string, promise: Promise<T>): Promise<T> {
  return waitFor((late) => orAbort(promise, late), { signal, within: deadline, what });
}
