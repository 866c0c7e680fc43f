import { monotonicTime } from "../lib/clock.ts";
import type { LogFields, Logger } from "../lib/logger.ts";
import { plainValue } from "./log-value.ts";
import type { LoggerParts } from "./logger-parts.ts";

/**
 * Lines as glog writes them and 0.7.0's users and tools know them, with the component in the place of file and line:
 * `I1122 20:31:39.980738   12139 flanneld] lease acquired subnet=10.5.34.0/24`. Debug lines are `I` as glog's verbose ones.
 */
export function textLogger(parts: LoggerParts, inherited: LogFields = {}): Logger {
  const line = (severity: string, message: string, fields: LogFields | undefined) =>
    parts.write(formatLine(severity, parts.component, message, { ...inherited, ...fields }));
  return {
    debugs: parts.verbosity > 0,
    error: (message, fields) => line("E", message, fields),
    warn: (message, fields) => line("W", message, fields),
    info: (message, fields) => line("I", message, fields),
    debug: (message, fields) => {
      if (parts.verbosity > 0) line("I", message, fields);
    },
    child: (fields) => textLogger(parts, { ...inherited, ...fields }),
  };
}

/** A field `stack` comes last, as the lines it is. */
function formatLine(severity: string, component: string, message: string, fields: LogFields): string {
  const { component: speaker, stack, ...others } = fields;
  let text = `${severity}${timestamp()} ${String(process.pid).padStart(7)} ${speaker === undefined ? component : formatValue(speaker)}] ${message}`;
  for (const [key, value] of Object.entries(others)) if (value !== undefined) text += ` ${key}=${formatValue(value)}`;
  return `${text}\n${typeof stack === "string" ? `${stack}\n` : ""}`;
}

/** Bare if it is one word, else quoted, so that a line stays one line and every pair can be found again. */
function formatValue(value: unknown): string {
  const plain = plainValue(value);
  const text = typeof plain === "string" ? plain : JSON.stringify(plain);
  return typeof plain === "string" && !/^[^\s"=\p{Cc}]+$/u.test(text) ? JSON.stringify(text) : text;
}

/** When the monotonic clock was 0, milliseconds since 1970: lines stay in order if the wall clock steps. */
const BEGINNING = Date.now() - monotonicTime();

/** Month, day and local time to the microsecond. */
function timestamp(): string {
  const micros = Math.trunc((BEGINNING + monotonicTime()) * 1000);
  const date = new Date(micros / 1000);
  const two = (number: number) => String(number).padStart(2, "0");
  const fraction = String(micros % 1_000_000).padStart(6, "0");
  return `${two(date.getMonth() + 1)}${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${fraction}`;
}
