import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Lab } from "../src/lab/lab.ts";
import type { WriterCommand, WriterReply } from "./fake-peers.ts";

/** Writes and removes leases of peers that do not exist, from where the store is. */
export class PeerWriter implements AsyncDisposable {
  readonly #child: ChildProcess;

  static async start(lab: Lab): Promise<PeerWriter> {
    const { kind, file, endpoints } = lab.store;
    const argv = [
      process.execPath,
      join(import.meta.dirname, "lease-writer.ts"),
      kind,
      file ?? endpoints[0] ?? "",
      lab.backend.Type,
    ];
    const child = lab.switch.namespace.spawn(argv, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    const writer = new PeerWriter(child);
    await writer.#reply();
    return writer;
  }

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** @returns when the writes began and ended, nanoseconds of CLOCK_MONOTONIC */
  async write(command: WriterCommand): Promise<{ readonly started: bigint; readonly ended: bigint }> {
    this.#child.send(command);
    return await this.#reply();
  }

  async #reply(): Promise<{ readonly started: bigint; readonly ended: bigint }> {
    const [message] = (await once(this.#child, "message")) as [WriterReply];
    if (message.error !== undefined) throw new Error(message.error);
    return { started: BigInt(message.started), ended: BigInt(message.ended) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.disconnect();
    if (this.#child.exitCode === null) await once(this.#child, "exit");
  }
}
