import { pino } from "pino";
import type { LogFields, Logger } from "../lib/logger.ts";
import { plainValue } from "./log-value.ts";
import type { LoggerParts } from "./logger-parts.ts";

/** One JSON object a line: `level`, `time` (RFC 3339), `pid`, `component`, the fields, `msg`. */
export function jsonLogger({ verbosity, write, component }: LoggerParts): Logger {
  const root = pino(
    {
      level: verbosity > 0 ? "debug" : "info",
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write },
  );
  const wrap = (inherited: LogFields): Logger => {
    const merge = (fields: LogFields | undefined) => plainValue({ ...inherited, ...fields });
    return {
      debugs: verbosity > 0,
      error: (message, fields) => root.error(merge(fields), message),
      warn: (message, fields) => root.warn(merge(fields), message),
      info: (message, fields) => root.info(merge(fields), message),
      debug: (message, fields) => root.debug(merge(fields), message),
      child: (fields) => wrap({ ...inherited, ...fields }),
    };
  };
  return wrap({ component });
}
