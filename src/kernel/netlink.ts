import type { Plan, RowFailure } from "../dataplane/table.ts";
import type { Abortable } from "../lib/abortable.ts";
import { ENODEV, ENOENT, ENXIO, ESRCH } from "./errno.ts";
import type { Links } from "./links.ts";
import type { Monitor } from "./monitor.ts";
import type { NetlinkConnection, NetlinkRequest } from "./netlink-connection.ts";
import { NetlinkError } from "./netlink-error.ts";

/** What every table works with. */
export interface Netlink {
  readonly connection: NetlinkConnection;
  readonly monitor: Monitor;
  readonly links: Links;
}

/** Whether the error of a removal says that there was nothing to remove. */
export function isGone({ errno }: NetlinkError): boolean {
  return errno === ENOENT || errno === ESRCH || errno === ENODEV || errno === ENXIO;
}

/** Every put fails for want of the link; every removal is done already. */
export function withoutLink<Row>(plan: Plan<Row>, link: string, describe: (row: Row) => string): RowFailure<Row>[] {
  return plan.puts.map((row) => ({ row, error: new NetlinkError(describe(row), ENODEV, `there is no link ${link}`) }));
}

/** Sends the puts and then the removals as one batch. @param isRemoved further errors that say that there was nothing to remove */
export async function applyRows<Row>(
  connection: NetlinkConnection,
  plan: Plan<Row>,
  put: (row: Row) => NetlinkRequest,
  remove: (row: Row) => NetlinkRequest,
  options: Abortable,
  isRemoved: (error: NetlinkError) => boolean = () => false,
): Promise<RowFailure<Row>[]> {
  const rows = [...plan.puts, ...plan.removals];
  const isRemoval = (index: number) => index >= plan.puts.length;
  const errors = await connection.request(rows, (row, index) => (isRemoval(index) ? remove(row) : put(row)), options);
  const failures: RowFailure<Row>[] = [];
  for (const [index, error] of errors)
    if (!isRemoval(index) || !(isGone(error) || isRemoved(error))) failures.push({ row: rows[index] as Row, error });
  return failures;
}
