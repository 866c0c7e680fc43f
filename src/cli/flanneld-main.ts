import { InvalidConfigError, isAbort, UnsupportedError } from "../lib/errors.ts";
import { parseFlanneld } from "./flanneld-flags.ts";
import { openLogger, writeToStderr } from "./log.ts";
import { runFlanneld } from "./run-flanneld.ts";

/** Runs flanneld from its command line to its exit code. */
export async function flanneldMain(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
): Promise<number> {
  const parsed = parseFlanneld(argv, env);
  if (parsed.kind === "exit") {
    writeToStderr(parsed.stderr);
    return parsed.code;
  }
  const logger = await openLogger(parsed.options.log, "flanneld");
  for (const { message, fields } of parsed.warnings) logger.warn(message, fields);
  try {
    if (!signal.aborted) await runFlanneld(parsed.options, { signal, logger });
    return 0;
  } catch (error) {
    if (isAbort(error, signal)) return 0;
    const isBug = !(error instanceof InvalidConfigError || error instanceof UnsupportedError);
    const stack = isBug && error instanceof Error ? error.stack : undefined;
    logger.error("cannot go on", { error, stack });
    return 1;
  }
}
