import type { Abortable } from "../../lib/abortable.ts";
import { sleepAwake } from "../../lib/awake.ts";
import type { Clock, Milliseconds } from "../../lib/clock.ts";

/** Made once: an error of its own for each request costs more than all else here. */
const OVER = new Error("the work is over");

/** Passed to watched work: call it whenever something moved. */
export type Progress = () => void;

/**
 * Runs `work` with a signal that aborts when the caller's does, or when `silence` passes without progress.
 * @param late makes the abort's reason in the latter case
 */
export async function whileAlive<T>(
  { clock, silence, signal, late }: Abortable & { clock: Clock; silence: Milliseconds; late: () => Error },
  work: (signal: AbortSignal, progress: Progress) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  const working = new AbortController();
  const over = new AbortController();
  let last = clock.now();
  const watch = async () => {
    for (let left = silence; left > 0; left = last + silence - clock.now())
      await sleepAwake(clock, left, { signal: over.signal });
    working.abort(late());
  };
  const onAbort = () => working.abort(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  watch().catch(() => undefined); // ended by `over`
  try {
    return await work(working.signal, () => {
      last = clock.now();
    });
  } finally {
    signal.removeEventListener("abort", onAbort);
    over.abort(OVER);
  }
}
