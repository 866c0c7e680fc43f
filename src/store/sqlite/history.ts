import { formatPrefix, type Prefix } from "../../ip/prefix.ts";
import { HistoryLostError, LeaseLostError } from "../../lease/errors.ts";
import type { Cursor, Lease, NetworkName } from "../../lease/lease.ts";
import { formatLeaseKey } from "../../lease/lease-codec.ts";
import type { ChangeRow, LeaseRow, Statements, StoreRow } from "./schema.ts";

// Steps of transactions; each counts on being run inside one.

/** Old changes are dropped this often, in revisions, and so this many at once. */
const PRUNE_EVERY = 128;

export function storeRow(statements: Statements): StoreRow {
  const row = statements.store.get();
  if (row === undefined) throw new Error("the store has lost its history's id");
  return row;
}

export function cursorOf(store: StoreRow): Cursor {
  return { history: store.history, index: BigInt(store.revision) };
}

export function nextRevision(statements: Statements): number {
  const row = statements.nextRevision.get();
  if (row === undefined) throw new Error("the store has lost its count of revisions");
  return row.revision;
}

/** @param historyLength how many revisions back a watch may begin */
export function recordChange(
  statements: Statements,
  change: ChangeRow & { readonly network: NetworkName },
  historyLength: number,
): void {
  statements.addChange({ ...change });
  const pruned = change.revision - historyLength;
  if (pruned <= 0 || change.revision % PRUNE_EVERY !== 0) return;
  statements.pruneChanges({ pruned });
  statements.setPruned({ pruned });
}

export function removeLease(statements: Statements, network: NetworkName, key: string, historyLength: number): void {
  statements.removeLease({ network, key });
  const revision = nextRevision(statements);
  recordChange(
    statements,
    { revision, network, key, value: null, expires: null, boot: null, uptime: null },
    historyLength,
  );
}

/** The lease on this subnet: its key alone, or followed by `&` and an IPv6 subnet. */
export function leaseOn(statements: Statements, network: NetworkName, subnet: Prefix): LeaseRow | undefined {
  const first = formatLeaseKey({ subnet });
  return statements.leaseIn.get({ network, first, end: `${first}'` }); // the character after the &
}

/** @throws {LeaseLostError} unless the lease is as it was read */
export function requireUnchanged(statements: Statements, network: NetworkName, lease: Lease): void {
  const row = statements.lease.get({ network, key: formatLeaseKey(lease) });
  if (row === undefined) throw new LeaseLostError(lease.subnet, "it is gone");
  if (BigInt(row.revision) !== lease.revision)
    throw new LeaseLostError(
      lease.subnet,
      `another wrote it: ${formatPrefix(lease.subnet)} has revision ${row.revision}, not ${lease.revision}`,
    );
}

/** Whether it has been further than it is: somebody put a backup in its place. */
export function wasRestored(store: StoreRow, since: Cursor): boolean {
  return since.history === store.history && since.index > BigInt(store.revision);
}

/** @throws {HistoryLostError} unless every change since then is still recorded */
export function requireHistory(store: StoreRow, since: Cursor): void {
  if (since.history !== store.history)
    throw new HistoryLostError(`the store was made anew: its history is ${store.history}, not ${since.history}`);
  if (since.index < BigInt(store.pruned))
    throw new HistoryLostError(`changes up to revision ${store.pruned} are forgotten, and ${since.index} is older`);
}
