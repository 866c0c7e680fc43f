import { createColors } from "picocolors";
import type { PingResult } from "./ping.ts";
import { renderTable, type TextOptions } from "./table.ts";

/** Round-trip times in milliseconds, a table per family and a row per sender; what failed is named below. */
export function renderMatrix(results: readonly PingResult[], options: TextOptions): string {
  const ipv6 = results.filter(({ address }) => address.includes(":"));
  if (ipv6.length === 0 || ipv6.length === results.length) return renderFamily(results, options);
  const ipv4 = results.filter((result) => !ipv6.includes(result));
  return ["IPv4", renderFamily(ipv4, options), "", "IPv6", renderFamily(ipv6, options)].join("\n");
}

function renderFamily(results: readonly PingResult[], options: TextOptions): string {
  const { dim, green, red } = createColors(options.colors);
  const pods = [...new Set(results.flatMap(({ from, to }) => [from, to]))];
  const times = new Map(results.map((result) => [`${result.from} ${result.to}`, result.time]));
  const cell = (from: string, to: string) => {
    if (from === to) return dim("·");
    const time = times.get(`${from} ${to}`);
    return time === undefined ? red("✗") : green(formatTime(time));
  };
  const rows = pods.map((from) => [from, ...pods.map((to) => cell(from, to))]);
  const failures = results
    .filter(({ time }) => time === undefined)
    .map(({ from, to, reason }) => red(`${from} cannot reach ${to}: ${reason}`));
  return [renderTable(["from \\ to", ...pods], rows, options), ...failures].join("\n");
}

/** One line: how many of the pairs answered. */
export function summarize(results: readonly PingResult[], options: TextOptions): string {
  const { green, red } = createColors(options.colors);
  const answered = results.filter(({ time }) => time !== undefined).length;
  const paint = isComplete(results) ? green : red;
  return paint(`${answered} of ${results.length} pairs of pods reach each other`);
}

/** Whether there is something to reach, and everything is. */
export function isComplete(results: readonly PingResult[]): boolean {
  return results.length > 0 && results.every(({ time }) => time !== undefined);
}

function formatTime(milliseconds: number): string {
  return `${milliseconds < 10 ? milliseconds.toFixed(2) : milliseconds.toFixed(0)} ms`;
}
