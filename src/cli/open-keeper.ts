import { join } from "node:path";
import type { DescriptorKeeper } from "../kernel/descriptor-keeper.ts";
import { closeAllOnExec } from "../kernel/descriptors.ts";
import { Pidfd } from "../kernel/pidfd.ts";
import { type Milliseconds, systemClock } from "../lib/clock.ts";
import type { Logger } from "../lib/logger.ts";
import { HolderKeeper } from "../operate/holder-keeper.ts";

export interface KeeperOptions {
  /** Of the daemon. */
  readonly stateDir: string;
  readonly timeout: Milliseconds;
  readonly logger: Logger;
}

/** What keeps one network's descriptors from this daemon to the next, as it is possible here. */
export function openKeeper({ stateDir, timeout, logger }: KeeperOptions): DescriptorKeeper {
  return new HolderKeeper({
    record: join(stateDir, "handover.json"),
    timeout,
    openProcess: (id) => Pidfd.open(id),
    closeAllOnExec,
    clock: systemClock,
    logger,
  });
}
