import { readFileSync, writeSync } from "node:fs";

/** Milliseconds between two looks at a pipe that is not ready and that somebody set not to block. */
const NAP = 5;

/** All of standard input. */
export function readStandardInput(): string {
  return whenReady(() => readFileSync(0, "utf8"));
}

/** All of `text`, before the process ends. */
export function writeStandardOutput(text: string): void {
  const bytes = Buffer.from(text);
  for (let written = 0; written < bytes.length; ) written += whenReady(() => writeSync(1, bytes, written));
}

function whenReady<T>(work: () => T): T {
  for (;;) {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EAGAIN")) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, NAP);
    }
  }
}
