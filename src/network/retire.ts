import type { Table } from "../dataplane/table.ts";
import type { Prefix } from "../ip/prefix.ts";
import type { Leftover } from "../kernel/firewall/leftovers.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Abortable } from "../lib/abortable.ts";
import { describeError, isAbort } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";

export interface Former {
  /** Devices made for the network by an earlier run and not wanted now. */
  readonly links: readonly string[];
  /** Networks whose routes we made and do not want now. */
  readonly networks: readonly Prefix[];
  /** Rules in the packet filters that we do not want, ours and other flannels'. */
  readonly rules?: Table<Leftover> | undefined;
}

/**
 * Removes them, once: from then on the names and networks may be another's. Returns whether nothing is left.
 */
export async function retire(
  kernel: Kernel,
  { links, networks, rules }: Former,
  { logger, signal }: Abortable & { readonly logger: Logger },
): Promise<boolean> {
  const routes =
    networks.length === 0 || (await empty(kernel.routeTable({ networks, adoptable: () => false }), logger, signal));
  const devices = links.length === 0 || (await empty(kernel.linkTable({ owned: links }), logger, signal));
  const filters = rules === undefined || (await empty(rules, logger, signal));
  return routes && devices && filters;
}

async function empty<Row>(table: Table<Row>, logger: Logger, signal: AbortSignal): Promise<boolean> {
  try {
    const rows = await table.list({ signal });
    const failures = await table.apply({ puts: [], removals: rows }, { signal });
    for (const { row, error } of failures)
      logger.warn("cannot remove what an earlier flannel or config left", {
        row: table.format(row),
        reason: describeError(error),
      });
    if (rows.length > failures.length)
      logger.info("removed what an earlier flannel or config left", {
        count: rows.length - failures.length,
        rows: rows.slice(0, 3).map((row) => table.format(row)),
      });
    return failures.length === 0;
  } catch (error) {
    if (isAbort(error, signal)) throw error;
    logger.warn("cannot look for what an earlier flannel or config left", {
      table: table.name,
      reason: describeError(error),
    });
    return false;
  }
}
