import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants } from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import { type ProcessId, processId } from "../kernel/process-id.ts";
import type { Milliseconds } from "../lib/clock.ts";
import { UnsupportedError } from "../lib/errors.ts";

/** The holder's first descriptor; those before are its standard ones. */
export const FIRST_HELD = 3;

const SHELL = "/bin/sh";
const DIRECTORIES = ["/usr/bin", "/bin", "/usr/local/bin"];

/**
 * Waits for a line, which says that it is of use; then for the end of the pipe, which is the end of the daemon, whichever way it
 * comes; then sleeps. A daemon that ends before the line leaves nothing.
 */
const SCRIPT = 'read -r _ && { read -r _; exec "$1" "$2"; }';

/** A process that has nothing but descriptors, and keeps them for a while after our end. */
export class Holder {
  readonly id: ProcessId;
  readonly #child: ChildProcess;
  /** Resolves when it has ended; it does not by itself while we live. */
  readonly ended: Promise<void>;

  /**
   * Must be told to {@link arm} before it outlives us.
   * @param timeout how long it stays after our end
   * @throws {UnsupportedError} if the programs for it are missing; else what the system throws
   */
  static async start(descriptors: readonly number[], timeout: Milliseconds): Promise<Holder> {
    const sleep = DIRECTORIES.map((directory) => join(directory, "sleep")).find(isExecutable);
    if (!isExecutable(SHELL) || sleep === undefined)
      throw new UnsupportedError("handover", `${sleep === undefined ? "sleep" : SHELL} is not installed`);
    const { spawn } = await import("node:child_process"); // some daemons never need it
    const child = spawn(SHELL, ["-c", SCRIPT, "flanneld-handover", sleep, String(Math.ceil(timeout / 1000))], {
      detached: true, // in a session of its own, where no Ctrl-C comes
      cwd: "/",
      env: {},
      stdio: ["pipe", "ignore", "ignore", ...descriptors],
    });
    child.unref();
    child.stdin?.on("error", () => {}); // EPIPE: it has ended, which `ended` tells
    (child.stdin as Socket | null)?.unref();
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    child.once("exit", () => resolve());
    await once(child, "spawn");
    const id = child.pid === undefined ? undefined : processId(child.pid);
    if (id === undefined) throw new Error("the holder of descriptors ended at once");
    return new Holder(id, child, ended);
  }

  private constructor(id: ProcessId, child: ChildProcess, ended: Promise<void>) {
    this.id = id;
    this.#child = child;
    this.ended = ended;
  }

  /** From now on it outlives us. */
  arm(): void {
    this.#child.stdin?.write("\n");
  }

  /** We are as good as ended: its time begins. */
  release(): void {
    this.#child.stdin?.destroy();
  }

  end(): void {
    this.#child.kill("SIGKILL");
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
