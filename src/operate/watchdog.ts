import type { Abortable } from "../lib/abortable.ts";
import type { Clock, Milliseconds } from "../lib/clock.ts";
import type { Logger } from "../lib/logger.ts";
import type { Liveness } from "./liveness.ts";
import type { ServiceManager } from "./service-manager.ts";

/** How often within the time that the service manager gives us. A busy machine may be late by most of it. */
const PER_TIMEOUT = 4;

/** As systemd writes it: at most a year or so. */
const NUMBER = /^\d{1,14}$/;

/**
 * Within how long the service manager wants to hear of us, `WatchdogSec=`; undefined if it does not, or means another process. The
 * variables are removed, since they are not for programs that we start. sd_watchdog_enabled(3).
 */
export function takeWatchdogTimeout(env: Record<string, string | undefined>, pid: number): Milliseconds | undefined {
  const { WATCHDOG_USEC: timeout, WATCHDOG_PID: meant } = env;
  delete env["WATCHDOG_USEC"];
  delete env["WATCHDOG_PID"];
  if (timeout === undefined || !NUMBER.test(timeout) || Number(timeout) === 0) return undefined;
  if (meant !== undefined && meant !== String(pid)) return undefined;
  return Number(timeout) / 1000;
}

export interface WatchdogOptions extends Abortable {
  readonly timeout: Milliseconds;
  readonly liveness: Liveness;
  readonly manager: ServiceManager;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Tells the service manager that we are well, as long as we are: the main loop, since it is what runs this; and every loop that
 * {@link Liveness} watches. Of a stuck one it hears by our silence, and starts us anew. A store that is away makes nobody unwell.
 */
export async function runWatchdog({
  timeout,
  liveness,
  manager,
  clock,
  logger,
  signal,
}: WatchdogOptions): Promise<never> {
  const look = liveness.observer();
  let before = "";
  let told = "";
  for (;;) {
    const stuck = look().join(", ");
    if (stuck === "") manager.alive();
    else if (stuck === before && stuck !== told) {
      // Not at the first look: a program of the host's that a busy machine is slow to run is no standstill.
      logger.error("something is stuck: unless it goes on, the service manager starts us anew", { stuck });
      told = stuck;
    }
    if (stuck === "" && told !== "") {
      logger.info("what was stuck goes on", { stuck: told });
      told = "";
    }
    before = stuck;
    await clock.sleep(timeout / PER_TIMEOUT, { signal });
  }
}
