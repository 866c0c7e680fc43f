import type { Abortable } from "../../lib/abortable.ts";
import type { Clock, Milliseconds } from "../../lib/clock.ts";
import type { Logger } from "../../lib/logger.ts";
import type { DropReason } from "./drop-reason.ts";
import type { PacketPath } from "./packet-path.ts";

const EVERY: Milliseconds = 60_000;

interface DropReportOptions extends Abortable {
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Counts, for whoever reads debug lines, what was dropped in the last minute and why; says nothing of a minute without drops. */
export async function reportDrops(
  path: Pick<PacketPath, "traffic">,
  { clock, logger, signal }: DropReportOptions,
): Promise<never> {
  for (let before = path.traffic().drops; ; ) {
    await clock.sleep(logger.debugs ? EVERY : Number.POSITIVE_INFINITY, { signal });
    const now = path.traffic().drops;
    const news = Object.entries(now)
      .map(([reason, count]) => [reason, count - before[reason as DropReason]] as const)
      .filter(([, count]) => count > 0);
    before = now;
    if (news.length > 0) logger.debug("packets dropped within a minute", Object.fromEntries(news));
  }
}
