// Nothing is imported before the handlers are in place: a signal during start-up is a request like any other.
const stop = new AbortController();

/** How long an orderly end may take before it is cut short, ms; the promise to the outside is one second. */
const GRACE = 900;

function onSignal(signal: NodeJS.Signals): void {
  if (stop.signal.aborted) process.exit(0); // the second one is impatience
  setTimeout(() => process.exit(0), GRACE).unref();
  stop.abort(new DOMException(`${signal} received`, "AbortError"));
}
process.on("SIGTERM", onSignal);
process.on("SIGINT", onSignal);

async function main(): Promise<number> {
  const { parseFlanneld } = await import("./flanneld-flags.ts");
  const { openLogger, writeToStderr } = await import("./log.ts");
  const parsed = parseFlanneld(process.argv.slice(2), process.env);
  if (parsed.kind === "exit") {
    writeToStderr(parsed.stderr);
    return parsed.code;
  }
  const logger = await openLogger(parsed.options.log, "flanneld");
  for (const { message, fields } of parsed.warnings) logger.warn(message, fields);
  try {
    const { runFlanneld } = await import("./run-flanneld.ts");
    if (!stop.signal.aborted) await runFlanneld(parsed.options, { signal: stop.signal, logger });
    return 0;
  } catch (error) {
    const { InvalidConfigError, isAbort, UnsupportedError } = await import("../lib/errors.ts");
    if (isAbort(error, stop.signal)) return 0;
    const isBug = !(error instanceof InvalidConfigError || error instanceof UnsupportedError);
    const stack = isBug && error instanceof Error ? error.stack : undefined;
    logger.error("cannot go on", { error, stack });
    return 1;
  }
}

process.exit(await main());
