/** What a soak finds: a line for each, and whether all is well. */
export class Verdicts {
  #failed = 0;

  tell(what: string, isGood: boolean): void {
    console.log(`${isGood ? "ok  " : "FAIL"} ${what}`);
    if (!isGood) this.#failed++;
  }

  /** The last line, and how this process ends. */
  conclude(): void {
    console.log(this.#failed === 0 ? "soak: all well" : `soak: ${this.#failed} failed`);
    process.exitCode = this.#failed === 0 ? 0 : 1;
  }
}

/** Aborts when somebody stops this process. */
export function untilStopped(): AbortSignal {
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, () => stop.abort(new Error(name)));
  return stop.signal;
}
