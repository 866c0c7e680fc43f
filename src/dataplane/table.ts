import type { Abortable } from "../lib/abortable.ts";
import type { Milliseconds } from "../lib/clock.ts";

/**
 * A list in the outside world that can be made equal to a desired list: routes of the main table, FDB entries of flannel.1,
 * firewall rules, WireGuard peers, a VPC route table, the udp thread's route table.
 */
export interface Table<Row> {
  /** For logs: `routes`, `fdb flannel.1`. */
  readonly name: string;
  /** What makes two rows the same row, possibly with different contents. */
  key(row: Row): string;
  equal(desired: Row, actual: Row): boolean;
  /** The row as a person would write it: `10.1.15.0/24 via 192.168.0.7 dev eth0`. */
  format(row: Row): string;
  /** Only rows this network owns; a foreign row must never be listed. */
  list(options: Abortable): Promise<readonly Row[]>;
  /**
   * Applies a plan as one batch; tells, row by row, what failed and why. Idempotent: adding what is there replaces it,
   * removing what is gone succeeds. Rejects only when the whole batch could not be tried.
   */
  apply(plan: Plan<Row>, options: Abortable): Promise<readonly RowFailure<Row>[]>;
  /**
   * Calls back when somebody else may have changed rows of this table; not for the echo of our own `apply`.
   * A table without notifications leaves it out and is compared at every resync only.
   */
  watch?(onChange: () => void): Disposable;
  /**
   * The longest that a row which failed waits before it is tried again; 30 s if not given. For tables of a row or two, where nobody
   * announces that one would work now: that a port is free again.
   */
  readonly longestRetry?: Milliseconds;
  /** How often it is compared though nobody announced a change, if looking at it costs others something; else at every resync. */
  readonly resyncEvery?: Milliseconds;
  /** How far a call has got that may take more than seconds: grows as long as it is not stuck. */
  readonly steps?: number;
}

/** The difference between desired and actual. Every put is applied before any removal, so that a changed row is never briefly missing. */
export interface Plan<Row> {
  readonly puts: readonly Row[];
  /** Rows as they were listed or put. */
  readonly removals: readonly Row[];
}

export interface RowFailure<Row> {
  readonly row: Row;
  readonly error: Error;
}

/** One table and the rows it should hold. The row type is hidden, so that layers of different tables stand in one list. */
export interface Layer {
  readonly table: Table<unknown>;
  readonly rows: readonly unknown[];
  /** Whether nothing works before these rows are in place; others are only worse off without one. */
  readonly isFoundation: boolean;
}

export function layer<Row>(table: Table<Row>, rows: readonly Row[], { isFoundation = false } = {}): Layer {
  return { table: table as unknown as Table<unknown>, rows, isFoundation };
}
