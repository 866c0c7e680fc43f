import Table from "cli-table3";
import { createColors } from "picocolors";

export interface TextOptions {
  readonly colors: boolean;
}

/** Columns under a bold heading, without lines, as `ip -br` and `kubectl get` show things. */
export function renderTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  options: TextOptions,
): string {
  const { bold } = createColors(options.colors);
  const table = new Table({
    head: head.map((title) => bold(title)),
    style: { head: [], border: [], "padding-left": 0, "padding-right": 2 },
    chars: {
      top: "",
      "top-mid": "",
      "top-left": "",
      "top-right": "",
      bottom: "",
      "bottom-mid": "",
      "bottom-left": "",
      "bottom-right": "",
      left: "",
      "left-mid": "",
      mid: "",
      "mid-mid": "",
      right: "",
      "right-mid": "",
      middle: "",
    },
  });
  table.push(...rows.map((row) => [...row]));
  return table
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}
