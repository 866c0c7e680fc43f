import { writeSync } from "node:fs";
import type { Logger } from "../lib/logger.ts";
import { textLogger } from "./log-text.ts";
import type { WriteLine } from "./logger-parts.ts";

export interface LogOptions {
  readonly format: "text" | "json";
  /** 0: information and above; more: everything. */
  readonly verbosity: number;
}

/** The log of a program, on standard error, every line written before the call returns. */
export async function openLogger(
  options: LogOptions,
  component: string,
  write: WriteLine = writeToStderr,
): Promise<Logger> {
  if (options.format === "text") return textLogger({ verbosity: options.verbosity, write, component });
  const { jsonLogger } = await import("./log-json.ts"); // pino takes its 30 ms only where it is wanted
  return jsonLogger({ verbosity: options.verbosity, write, component });
}

/** How often a reader that is behind gets another millisecond before a line is dropped. */
const PATIENCE = 50;

/** Writes to a descriptor that may be full for a moment (EAGAIN), without a reader (EPIPE) or closed (EBADF). */
export function writeToStderr(line: string): void {
  let bytes: Uint8Array = Buffer.from(line);
  for (let attempt = 0; bytes.length > 0 && attempt < PATIENCE; attempt++) {
    try {
      bytes = bytes.subarray(writeSync(2, bytes));
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EAGAIN")) return;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}
