import { describeError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import type { Table } from "./table.ts";
import type { TableState, Undone, UndoneRow } from "./table-state.ts";

/** Rows named in one log line. */
const ROWS_IN_LOG = 3;

/** What an operator is told of the reconcile loop's work: each trouble when it begins, when its reason changes, and when it is over. */
export class DataplaneLog {
  readonly #logger: Logger;
  /** The reason that was told last. */
  readonly #tableTroubles = new WeakMap<TableState, string>();
  readonly #rowTroubles = new WeakMap<TableState, string>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  put({ table }: TableState, rows: readonly unknown[]): void {
    this.#each("put", table, rows);
  }

  removed({ table }: TableState, rows: readonly unknown[]): void {
    this.#each("removed", table, rows);
  }

  #each(message: string, table: Table<unknown>, rows: readonly unknown[]): void {
    if (!this.#logger.debugs) return;
    for (const row of rows) this.#logger.debug(message, { table: table.name, row: table.format(row) });
  }

  undone({ table }: TableState, { repaired, contested }: Undone): void {
    const fields = (undone: readonly UndoneRow[]) => ({
      table: table.name,
      count: undone.length,
      rows: undone
        .slice(0, ROWS_IN_LOG)
        .map(({ row, found }) =>
          found === undefined ? table.format(row) : `${table.format(row)} (found ${table.format(found)})`,
        ),
    });
    if (repaired.length > 0) this.#logger.info("repairing rows that were changed by others", fields(repaired));
    if (contested.length > 0)
      this.#logger.warn("something else keeps undoing these rows; trying only every 10 s", fields(contested));
  }

  works(state: TableState): void {
    if (this.#tableTroubles.delete(state))
      this.#logger.info("table can be read and written again", { table: state.table.name });
  }

  failed(state: TableState, error: unknown): void {
    const reason = describeError(error);
    if (this.#tableTroubles.get(state) === reason) return;
    this.#tableTroubles.set(state, reason);
    const table = state.table.name;
    this.#logger.warn("table cannot be read or written; will try again", { table, reason });
  }

  problems(states: readonly TableState[]): void {
    for (const state of states) this.#problemsOf(state);
  }

  #problemsOf(state: TableState): void {
    const { table } = state;
    const failing = state.failing.filter(({ isTruce }) => !isTruce);
    const first = failing[0];
    if (first === undefined) {
      if (this.#rowTroubles.delete(state)) this.#logger.info("all rows are in place again", { table: table.name });
      return;
    }
    const reason = describeError(first.error);
    if (this.#rowTroubles.get(state) === reason) return;
    this.#rowTroubles.set(state, reason);
    this.#logger.warn("rows are not in place; will try again", {
      table: table.name,
      count: failing.length,
      row: table.format(first.row),
      reason,
    });
  }
}
