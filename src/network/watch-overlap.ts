import type { Kernel, KernelRoute } from "../kernel/kernel.ts";
import { type NetworkConfig, rangesOf } from "../lease/network-config.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Clock, Milliseconds } from "../lib/clock.ts";
import { describeError, isAbort } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import { mayBeFlannels } from "./heritage.ts";
import { overlapWithHost } from "./host-overlap.ts";

/** There may be thousands of routes, and what changes them is a VPN that begins or an administrator. */
const LOOK_EVERY: Milliseconds = 60_000;

export interface OverlapWatchOptions extends Abortable {
  readonly kernel: Pick<Kernel, "listLinks" | "listAddresses" | "listRoutes">;
  readonly config: NetworkConfig;
  /** The link to the other hosts. */
  readonly underlay: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Names the route that the host has, or was given while flannel works, and that pods could be mistaken for: once, and when it is another one. */
export async function watchOverlap(options: OverlapWatchOptions): Promise<never> {
  const { kernel, config, underlay, clock, logger, signal } = options;
  const isFlannels = (route: KernelRoute) => mayBeFlannels(route, config, underlay);
  let told: string | undefined;
  for (;;) {
    try {
      const [links, addresses, routes] = await Promise.all([
        kernel.listLinks({ signal }),
        kernel.listAddresses({ signal }),
        kernel.listRoutes({ signal }),
      ]);
      const host = { links, addresses, routes };
      const [reason] = rangesOf(config).flatMap((range) => overlapWithHost(range, host, isFlannels) ?? []);
      if (reason !== undefined && reason !== told)
        logger.warn("pods or neighbours of this host may be out of reach", { reason });
      told = reason;
    } catch (error) {
      if (isAbort(error, signal)) throw error;
      logger.debug("cannot look at this host's routes", { reason: describeError(error) });
    }
    await clock.sleep(LOOK_EVERY, { signal });
  }
}
