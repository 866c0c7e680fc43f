import type { Plan, Table } from "./table.ts";

/** What must change so that `actual` becomes `desired`. Pure. Of two desired rows with one key the first counts. */
export function plan<Row>(
  table: Pick<Table<Row>, "key" | "equal">,
  desired: Iterable<Row>,
  actual: Iterable<Row>,
): Plan<Row> {
  const present = new Map<string, Row>();
  for (const row of actual) present.set(table.key(row), row);
  const wanted = new Set<string>();
  const puts: Row[] = [];
  for (const row of desired) {
    const key = table.key(row);
    if (wanted.has(key)) continue;
    wanted.add(key);
    const there = present.get(key);
    if (there === undefined || !table.equal(row, there)) puts.push(row);
  }
  const removals: Row[] = [];
  for (const [key, row] of present) if (!wanted.has(key)) removals.push(row);
  return { puts, removals };
}
