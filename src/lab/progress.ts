import { createColors } from "picocolors";
import { takesColors } from "../lib/terminal.ts";

/** Shows what is being done: a line that changes on a terminal, a line per step elsewhere. */
export class Progress implements Disposable {
  readonly #stream: NodeJS.WriteStream;
  readonly #colors: ReturnType<typeof createColors>;
  #current: { readonly step: string; readonly since: number } | undefined;

  constructor(stream: NodeJS.WriteStream = process.stderr) {
    this.#stream = stream;
    this.#colors = createColors(takesColors(stream));
  }

  /** Begins a step; the one before it is done. */
  readonly step = (step: string): void => {
    this.#finish();
    this.#current = { step, since: performance.now() };
    this.#stream.write(this.#stream.isTTY ? `${this.#colors.dim("…")} ${step}` : `${step}\n`);
  };

  #finish(): void {
    if (this.#current === undefined) return;
    const { step, since } = this.#current;
    const seconds = ((performance.now() - since) / 1000).toFixed(1);
    if (this.#stream.isTTY)
      this.#stream.write(`\r\u001b[K${this.#colors.green("✓")} ${step} ${this.#colors.dim(`${seconds} s`)}\n`);
    this.#current = undefined;
  }

  /** The last step did not come to its end. */
  fail(): void {
    if (this.#current === undefined) return;
    if (this.#stream.isTTY) this.#stream.write(`\r\u001b[K${this.#colors.red("✗")} ${this.#current.step}\n`);
    this.#current = undefined;
  }

  [Symbol.dispose](): void {
    this.#finish();
  }
}
