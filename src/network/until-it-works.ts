import type { Abortable } from "../lib/abortable.ts";
import type { Clock, Milliseconds } from "../lib/clock.ts";
import { describeError, isAbort } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";

export interface PatienceOptions extends Abortable {
  readonly clock: Clock;
  readonly logger: Logger;
  /** How long to wait after a failure; one second by default, as every flannel. */
  readonly delay?: (error: unknown) => Milliseconds;
}

/** Reasons that were said are forgotten after so many. */
const MOST_REASONS = 100;

/** Tries until it works. Each reason is logged once, also where several take turns. */
export async function untilItWorks<T>(
  attempt: () => Promise<T>,
  message: string,
  { clock, logger, signal, delay = () => 1_000 }: PatienceOptions,
): Promise<T> {
  const said = new Set<string>();
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (isAbort(error, signal)) throw error;
      const reason = describeError(error);
      if (!said.has(reason)) logger.warn(message, { reason });
      if (said.size >= MOST_REASONS) said.clear();
      said.add(reason);
      await clock.sleep(delay(error), { signal });
    }
  }
}
