import type { Abortable } from "../lib/abortable.ts";
import { type Milliseconds, systemClock } from "../lib/clock.ts";

/** A condition did not become true in time. */
export class DeadlineError extends Error {
  override readonly name = "DeadlineError";
  readonly code = "deadline";
}

export interface WaitOptions extends Abortable {
  /** What is waited for, for the error: `h1 is ready`. */
  readonly what: string;
  readonly within: Milliseconds;
}

/** What counts towards a deadline at once, ms. Where the machine stands still for longer, so does whoever is waited for. */
const TICK = 20;

async function pass(span: Milliseconds, options: Abortable): Promise<void> {
  for (let left = span; left > 0; left -= TICK) await systemClock.sleep(Math.min(left, TICK), options);
}

/**
 * Waits for something with a deadline of its own, in time that this process had: less than a clock shows where the machine stands still.
 * @param start is given a signal that ends at the deadline or with the caller's
 * @throws {DeadlineError} @throws the caller's `signal.reason`
 */
export async function waitFor<T>(start: (signal: AbortSignal) => Promise<T>, options: WaitOptions): Promise<T> {
  const { signal, what, within } = options;
  const deadline = new AbortController();
  const timer = new AbortController();
  const late = new DeadlineError(`not within ${within} ms: ${what}`);
  void pass(within, { signal: timer.signal }).then(
    () => deadline.abort(late),
    () => {},
  );
  try {
    return await start(AbortSignal.any([signal, deadline.signal]));
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    timer.abort();
  }
}

export interface PollOptions extends WaitOptions {
  /** Pause between two looks; 10 ms. */
  readonly every?: Milliseconds;
}

/** Looks until there is a value other than undefined and false. @throws {DeadlineError} with what the last look threw as its cause */
export async function waitUntil<T>(
  look: (signal: AbortSignal) => T | undefined | false | Promise<T | undefined | false>,
  options: PollOptions,
): Promise<T> {
  let cause: unknown;
  try {
    return await waitFor(async (signal) => {
      for (;;) {
        try {
          const seen = await look(signal);
          if (seen !== undefined && seen !== false) return seen;
          cause = undefined;
        } catch (error) {
          if (!signal.aborted) cause = error;
        }
        await systemClock.sleep(options.every ?? 10, { signal });
      }
    }, options);
  } catch (error) {
    throw error instanceof DeadlineError && cause !== undefined ? new DeadlineError(error.message, { cause }) : error;
  }
}
