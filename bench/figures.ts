import Table from "cli-table3";

/** One measured thing. */
export interface Figure {
  /** Which part of the bench: `leases`. */
  readonly part: string;
  readonly what: string;
  readonly value: number;
  readonly unit: "ms" | "s" | "KiB" | "MiB" | "Mbit/s" | "packets/s" | "µs" | "µs/lease" | "s/GB" | "ratio";
  /** What we want, as text: `≤ 100`. */
  readonly aim?: string;
  /** What 0.7.0 needed on a machine like this, from the published figures; compare with care. */
  readonly reference?: string;
}

export type Report = (figure: Figure) => void;

export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/** Nearest rank. @param share 0 to 1 */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] ?? Number.NaN;
}

/** The figures as a table for people. */
export function renderFigures(figures: readonly Figure[]): string {
  const table = new Table({ head: ["part", "what", "value", "unit", "aim", "0.7.0"], style: { head: [], border: [] } });
  for (const { part, what, value, unit, aim = "", reference = "" } of figures)
    table.push([part, what, { content: format(value), hAlign: "right" }, unit, aim, reference]);
  return table.toString();
}

function format(value: number): string {
  if (Number.isNaN(value)) return "–";
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString("en");
  return value.toPrecision(3);
}
