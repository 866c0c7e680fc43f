import type { RowFailure } from "../dataplane/table.ts";
import type { Abortable } from "../lib/abortable.ts";
import { isAbort } from "../lib/errors.ts";

/** Changes rows one after the other, as a cloud's API does: one that fails holds up no other. @returns those that failed */
export async function eachRow<Row>(
  rows: readonly Row[],
  change: (row: Row) => Promise<void>,
  { signal }: Abortable,
): Promise<RowFailure<Row>[]> {
  const failures: RowFailure<Row>[] = [];
  for (const row of rows)
    try {
      await change(row);
    } catch (error) {
      if (isAbort(error, signal) || !(error instanceof Error)) throw error;
      failures.push({ row, error });
    }
  return failures;
}
