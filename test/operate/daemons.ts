import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { processesInNamespaces, signalProcess } from "../../src/lab/processes.ts";
import { orAbort } from "../../src/lib/or-abort.ts";

const PROGRAM = fileURLToPath(new URL("socket-daemon.ts", import.meta.url));
/** Ample for a slow machine. */
const PATIENCE = 20_000;
const LONGER_THAN_ANY_TEST = 60;

let namespaces = 0;

export interface DaemonOptions {
  /** The state directory's name. */
  readonly state?: string;
  readonly port?: number;
  /** Seconds. */
  readonly timeout?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** What to start it by: is given the daemon's command line as arguments. */
  readonly by?: readonly string[];
  /** Descriptors 3, 4 and so on. */
  readonly passed?: readonly (number | "pipe")[];
}

/** A network namespace with loopback, in which daemons follow each other. Needs root. */
export class Place implements Disposable {
  readonly namespace = `ho-${process.pid}-${++namespaces}`;
  readonly directory = mkdtempSync(join(tmpdir(), "flannel-handover-"));
  readonly #daemons: Daemon[] = [];

  constructor() {
    execFileSync("ip", ["netns", "add", this.namespace]);
    execFileSync("ip", ["-n", this.namespace, "link", "set", "lo", "up"]);
  }

  start({ state = "state", port = 9000, timeout, env = {}, by = [], passed = [] }: DaemonOptions = {}): Daemon {
    const daemon = [process.execPath, PROGRAM, join(this.directory, state), port, timeout ?? LONGER_THAN_ANY_TEST];
    const argv = ["netns", "exec", this.namespace, ...by, ...daemon.map(String)];
    const child = spawn("ip", argv, {
      stdio: ["pipe", "pipe", "inherit", ...passed],
      env: { PATH: process.env["PATH"], ...env },
    });
    const started = new Daemon(child);
    this.#daemons.push(started);
    return started;
  }

  /** Sends numbered datagrams, one after the other. */
  async sent(first: number, last: number, { port = 9000 } = {}): Promise<void> {
    const script = `for ((i=${first}; i<=${last}; i++)); do printf $i >/dev/udp/127.0.0.1/${port}; done`;
    await once(this.#bash(script), "close");
  }

  /** Sends numbered datagrams, from 1 on. @param pause between them, seconds @returns what ends it, and tells the last number */
  sending(pause: number): () => Promise<number> {
    // More than 128: nothing was said in that time. The end of what is said is 1.
    const script = `i=0; while read -r -t ${pause} _; (($? > 128)); do printf $((++i)) >/dev/udp/127.0.0.1/9000; done; echo $i`;
    const { stdin, stdout } = this.#bash(script);
    return async () => {
      stdin.end();
      return Number(await text(stdout));
    };
  }

  #bash(script: string) {
    const argv = ["netns", "exec", this.namespace, "bash", "--norc", "-c", script];
    return spawn("ip", argv, { stdio: ["pipe", "pipe", "inherit"] });
  }

  /** Whether the port is free for a program that knows nothing of all this. */
  isFree(port = 9000): boolean {
    const sockets = execFileSync("ip", ["netns", "exec", this.namespace, "ss", "-Huan"], { encoding: "utf8" });
    return !sockets.includes(`:${port} `);
  }

  /** Pids of all processes here but the daemons that run. */
  get holders(): readonly number[] {
    const daemons = this.#daemons.map(({ pid }) => pid);
    return processesInNamespaces([`/run/netns/${this.namespace}`])
      .map(({ pid }) => pid)
      .filter((pid) => !daemons.includes(pid));
  }

  /** @throws unless there is just one */
  get holder(): number {
    const [holder, another] = this.holders;
    if (holder === undefined || another !== undefined) throw new Error(`${this.holders.length} holders`);
    return holder;
  }

  [Symbol.dispose](): void {
    for (const each of processesInNamespaces([`/run/netns/${this.namespace}`])) signalProcess(each, "SIGKILL");
    execFileSync("ip", ["netns", "del", this.namespace]);
    rmSync(this.directory, { recursive: true, maxRetries: 5 }); // what was just killed may still have made a file
  }
}

/** One run of the program. */
export class Daemon {
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  readonly #closed: Promise<unknown>;
  #wake = () => {};

  constructor(child: ChildProcess) {
    this.#child = child;
    this.#closed = once(child, "close");
    child.stdin?.on("error", () => {}); // it has ended
    if (child.stdout === null) throw new Error("no output");
    createInterface({ input: child.stdout }).on("line", (line) => {
      this.#lines.push(line);
      this.#wake();
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get lines(): readonly string[] {
    return this.#lines;
  }

  /** What came in the datagrams. */
  get got(): readonly number[] {
    return this.#lines.filter((line) => line.startsWith("got ")).map((line) => Number(line.slice(4)));
  }

  /** Waits for a line that begins so. @returns it */
  async says(beginning: string): Promise<string> {
    await this.until(() => this.#lines.some((line) => line.startsWith(beginning)), `a line: ${beginning}`);
    return this.#lines.find((line) => line.startsWith(beginning)) ?? "";
  }

  async until(condition: () => boolean, what: string): Promise<void> {
    const end = performance.now() + PATIENCE;
    while (!condition()) {
      if (performance.now() > end) throw new Error(`waited in vain for ${what}; there are:\n${this.#lines.join("\n")}`);
      await Promise.race([
        new Promise<void>((resolve) => (this.#wake = resolve)),
        new Promise((resolve) => setTimeout(resolve, 20)),
      ]);
    }
  }

  signal(how: NodeJS.Signals): void {
    this.#child.kill(how);
  }

  /** @throws with what the kernel says of it, if it does not end */
  async ended(): Promise<void> {
    const patience = new AbortController();
    const late = setTimeout(() => patience.abort(), 3 * PATIENCE);
    try {
      await orAbort(this.#closed, patience.signal);
    } catch (error) {
      const { pid, exitCode, signalCode } = this.#child;
      const tasks = describeTasks(pid ?? 0);
      const said = this.#lines.slice(-5).join("\n");
      throw new Error(`${pid} does not end (exit ${exitCode}, signal ${signalCode}): ${tasks}\n${said}`, {
        cause: error,
      });
    } finally {
      clearTimeout(late);
    }
  }

  /** @param how a signal, or a failure of its own */
  async end(how: NodeJS.Signals | "crash"): Promise<void> {
    if (how === "crash") this.#child.stdin?.write("now");
    else this.signal(how);
    await this.ended();
  }
}

/** What each thread of a process waits for. proc(5), wchan */
function describeTasks(pid: number): string {
  try {
    const tasks = readdirSync(`/proc/${pid}/task`).map((task) => `/proc/${pid}/task/${task}`);
    return tasks
      .map((task) => `${readFileSync(`${task}/comm`, "utf8").trim()}: ${readFileSync(`${task}/wchan`, "utf8")}`)
      .join(", ");
  } catch {
    return "it is gone, and somebody else has its output";
  }
}

/**
 * What several got, each once: a daemon may be killed after it has told of a datagram and before it has taken it. By number: each processor
 * has a queue of its own for what it sends.
 */
export function distinct(...daemons: readonly Daemon[]): readonly number[] {
  return [...new Set(daemons.flatMap(({ got }) => got))].toSorted((one, other) => one - other);
}

export function range(first: number, last: number): readonly number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
