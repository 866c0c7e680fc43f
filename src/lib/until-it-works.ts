import type { Abortable } from "./abortable.ts";
import type { Clock, Milliseconds } from "./clock.ts";
import { describeError, isAbort } from "./errors.ts";
import type { Logger } from "./logger.ts";

export interface PatienceOptions extends Abortable {
  readonly clock: Clock;
  readonly logger: Logger;
  /** How long to wait after a failure; one second by default. */
  readonly delay?: (error: unknown) => Milliseconds;
  /** Whether trying again is of no use; nothing is, by default. */
  readonly isFinal?: (error: unknown) => boolean;
  /** Told of every failure. */
  readonly onFailure?: (reason: string) => void;
}

/** Reasons that were said are forgotten after so many. */
const MOST_REASONS = 100;

/** Tries until it works. Each reason is logged once, also where several take turns. @throws what `isFinal` says, and `signal.reason` */
export async function untilItWorks<T>(
  attempt: () => Promise<T>,
  message: string,
  { clock, logger, signal, delay = () => 1_000, isFinal = () => false, onFailure }: PatienceOptions,
): Promise<T> {
  const said = new Set<string>();
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (isAbort(error, signal) || isFinal(error)) throw error;
      const reason = describeError(error);
      if (!said.has(reason)) logger.warn(message, { reason });
      if (said.size >= MOST_REASONS) said.clear();
      said.add(reason);
      onFailure?.(reason);
      await clock.sleep(delay(error), { signal });
    }
  }
}
