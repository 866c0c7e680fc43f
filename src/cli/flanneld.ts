// Nothing is imported before the handlers are in place: a signal during start-up is a request like any other.
const stop = new AbortController();

/** How long an orderly end may take before it is cut short, ms; the promise to the outside is one second. */
const GRACE = 900;

/** Ctrl-C reaches us twice, from the terminal and from the launcher; only a later signal is impatience, ms. */
const ECHO = 100;
let stoppedAt = 0;

function onSignal(signal: NodeJS.Signals): void {
  if (stop.signal.aborted) {
    if (performance.now() - stoppedAt > ECHO) process.exit(0);
    return;
  }
  stoppedAt = performance.now();
  setTimeout(() => process.exit(0), GRACE).unref();
  stop.abort(new DOMException(`${signal} received`, "AbortError"));
}
process.on("SIGTERM", onSignal);
process.on("SIGINT", onSignal);

const argv = process.argv.slice(2);

/** Everything that flanneld is takes several times as long to load as its version takes to say. */
async function main(): Promise<number> {
  if (argv.length === 1 && /^--?version$/.test(argv[0] ?? "")) {
    const { printVersion } = await import("./print-version.ts");
    return printVersion();
  }
  const { flanneldMain } = await import("./flanneld-main.ts");
  return await flanneldMain(argv, process.env, stop.signal);
}

void main().then((code) => process.exit(code));
