import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** Thousands of clients of a flannel server that do nothing but wait for the next change, in a process of their own. */
export class LongPollers implements AsyncDisposable {
  readonly #child;
  readonly #lines;

  constructor(port: number, count: number) {
    const program = join(import.meta.dirname, "long-poller-program.ts");
    this.#child = spawn(process.execPath, [program, String(port), String(count)], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Everyone asks for what comes after the cursor; resolves when all have. */
  async ask(cursor: string): Promise<void> {
    this.#child.stdin.write(`ask ${cursor}\n`);
    const line = await this.#next();
    if (line !== "asked") throw new Error(`the clients say ${line}`);
  }

  /**
   * Makes a change and waits until everyone has heard of it.
   * @returns how long it took for each, ms, from before the change; and the cursor that they were told
   */
  async hear(change: () => Promise<void>): Promise<{ readonly times: readonly number[]; readonly cursor: string }> {
    this.#child.stdin.write("hear\n");
    const started = Number(process.hrtime.bigint()) / 1e6;
    await change();
    const { times, cursor } = JSON.parse(await this.#next()) as { readonly times: readonly number[]; cursor: string };
    return { times: times.map((time) => time - started), cursor };
  }

  async #next(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error("the clients have ended");
    return value;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin.end();
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, "exit");
  }
}
