import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Namespace } from "../../src/lab/namespace.ts";
import type { FakeApiServer, FakeApiServerOptions } from "./fake-api-server.ts";

type Answer = { readonly result?: unknown; readonly error?: string };

/** The fake API server in a network namespace, as a process of its own. Ends with the lab at the latest. */
export class FakeApiProcess {
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #last: Promise<unknown> = Promise.resolve();

  static async start(namespace: Namespace, options: FakeApiServerOptions): Promise<FakeApiProcess> {
    const program = join(import.meta.dirname, "fake-api-server-program.ts");
    const argv = [process.execPath, program, JSON.stringify(options)];
    const child = namespace.spawn(argv, { stdio: ["pipe", "pipe", "inherit"] });
    if (child.stdout === null) throw new Error("the fake has no output");
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const first = await lines.next();
    const { url } = JSON.parse(String(first.value)) as { readonly url: string };
    return new FakeApiProcess(url, child, lines);
  }

  private constructor(url: string, child: ChildProcess, lines: AsyncIterator<string>) {
    this.url = url;
    this.#child = child;
    this.#lines = lines;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Calls a method of FakeApiServer, or of one of its parts: `addNode`, `faults.add`. @returns its result, or the property's value */
  async call(path: string, ...args: readonly unknown[]): Promise<unknown> {
    const before = this.#last;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#last = promise;
    await before;
    try {
      this.#child.stdin?.write(`${JSON.stringify([path, ...args])}\n`);
      const { result, error } = JSON.parse(String((await this.#lines.next()).value)) as Answer;
      if (error !== undefined) throw new Error(`${path}: ${error}`);
      return result;
    } finally {
      resolve(undefined);
    }
  }

  /** What has been asked of it so far. */
  async calls(): Promise<FakeApiServer["calls"]> {
    return (await this.call("calls")) as FakeApiServer["calls"];
  }

  async stop(): Promise<void> {
    this.#child.stdin?.end();
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, "exit");
  }
}
