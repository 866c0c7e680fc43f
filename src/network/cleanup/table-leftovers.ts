import type { Table } from "../../dataplane/table.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Leftover } from "./leftover.ts";

/** All that a table lists. */
export async function tableLeftovers<Row>(
  kind: string,
  table: Table<Row>,
  options: Abortable,
): Promise<readonly Leftover[]> {
  return (await table.list(options)).map((row) => ({
    kind,
    name: table.format(row),
    remove: async (options) => {
      const [failure] = await table.apply({ puts: [], removals: [row] }, options);
      if (failure !== undefined) throw failure.error;
    },
  }));
}
