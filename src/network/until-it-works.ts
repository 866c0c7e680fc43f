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

/** Tries until it works. Each reason is logged when it is new, not each time. */
export async function untilItWorks<T>(
  attempt: () => Promise<T>,
  message: string,
  { clock, logger, signal, delay = () => 1_000 }: PatienceOptions,
): Promise<T> {
  for (let said: string | undefined; ; ) {
    try {
      return await attempt();
    } catch (error) {
      if (isAbort(error, signal)) throw error;
      const reason = describeError(error);
      if (reason !== said) logger.warn(message, { reason });
      said = reason;
      await clock.sleep(delay(error), { signal });
    }
  }
}
