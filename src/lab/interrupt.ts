/** Why a command was cut short, and the exit code that a shell expects for it. */
export class InterruptedError extends Error {
  override readonly name = "InterruptedError";
  readonly signal: NodeJS.Signals;
  readonly exitCode: number;

  constructor(signal: NodeJS.Signals, number: number) {
    super(`interrupted by ${signal}`);
    this.signal = signal;
    this.exitCode = 128 + number;
  }
}

const SIGNALS = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;

/**
 * Runs a command that ends in order when the person at the terminal, or the system, asks for it.
 * A second request changes nothing: cleaning up is short, and half of it helps nobody.
 */
export async function interruptible<T>(run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const onSignal = (signal: keyof typeof SIGNALS) => controller.abort(new InterruptedError(signal, SIGNALS[signal]));
  for (const signal of Object.keys(SIGNALS)) process.on(signal, onSignal);
  try {
    return await run(controller.signal);
  } finally {
    for (const signal of Object.keys(SIGNALS)) process.off(signal, onSignal);
  }
}
