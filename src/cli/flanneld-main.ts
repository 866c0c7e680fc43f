import type { Abortable } from "../lib/abortable.ts";
import { InvalidConfigError, isAbort, UnsupportedError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import { type FlanneldOptions, parseFlanneld } from "./flanneld-flags.ts";
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
    if (!signal.aborted) await run(parsed.options, { signal, logger });
    return 0;
  } catch (error) {
    if (isAbort(error, signal)) return 0;
    const isBug = !(error instanceof InvalidConfigError || error instanceof UnsupportedError);
    const stack = isBug && error instanceof Error ? error.stack : undefined;
    logger.error("cannot go on", { error, stack });
    return 1;
  }
}

/** A server is another program, but for its name. */
async function run(options: FlanneldOptions, parts: Abortable & { readonly logger: Logger }): Promise<void> {
  if (options.server === undefined) {
    await runFlanneld(options, parts);
    return;
  }
  const { runServer } = await import("./run-server.ts");
  await runServer(options, options.server, parts);
}
