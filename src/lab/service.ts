import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type ProcessId, processId } from "../kernel/process-id.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Milliseconds } from "../lib/clock.ts";
import { orAbort } from "../lib/or-abort.ts";
import type { Namespace } from "./namespace.ts";
import { NotifySocket } from "./notify-socket.ts";
import { signalProcess } from "./processes.ts";
import { ended } from "./program.ts";
import { waitFor } from "./wait.ts";

export interface DeadlineOptions extends Partial<Abortable> {
  readonly within?: Milliseconds;
}

export interface ServiceOptions {
  /** For messages and file names: `flanneld`. */
  readonly name: string;
  readonly argv: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly namespace: Namespace;
  /** Of the lab: ends waits that have no signal of their own. */
  readonly signal: AbortSignal;
  /** Holds its log and its notify socket. */
  readonly directory: string;
}

interface Run {
  readonly child: ChildProcess;
  readonly id: ProcessId | undefined;
  readonly notify: NotifySocket;
  readonly startedAt: number;
  readonly exited: Promise<number>;
}

/** Settings meant for a daemon that somebody runs on this machine must not reach those of a lab. */
const FOREIGN_VARIABLES =
  /^(FLANNELD|ETCD|ETCDCTL)_|^(LISTEN_(PID|FDS|FDNAMES|PIDFDID)|FDSTORE|NOTIFY_SOCKET|WATCHDOG_(PID|USEC))$/;

/** A long-running program in a namespace that tells by sd_notify when it is ready, as systemd would run it. */
export class Service {
  readonly name: string;
  /** May be changed while it is stopped; the next `start()` uses it. */
  argv: readonly string[];
  readonly logFile: string;
  readonly #options: ServiceOptions;
  #run: Run | undefined;

  constructor(options: ServiceOptions) {
    this.#options = options;
    this.name = options.name;
    this.argv = options.argv;
    this.logFile = join(options.directory, `${options.name}.log`);
  }

  /** Of the running process. */
  get pid(): number | undefined {
    return this.isRunning ? this.#run?.child.pid : undefined;
  }

  /** Of the last process that was started, for the lab's record. */
  get id(): ProcessId | undefined {
    return this.#run?.id;
  }

  get isRunning(): boolean {
    const child = this.#run?.child;
    return child !== undefined && child.exitCode === null && child.signalCode === null;
  }

  /** Resolves with the exit code of the last start: 128 + n if signal n killed it. */
  get exited(): Promise<number> {
    return this.#run?.exited ?? Promise.reject(new Error(`${this.name} has not been started`));
  }

  /** Everything it has written, all starts together. */
  log(): string {
    try {
      return readFileSync(this.logFile, "utf8");
    } catch {
      return "";
    }
  }

  /** Starts the program; it may not be ready for a while. @throws if it is running or cannot be started */
  async start(): Promise<void> {
    if (this.isRunning) throw new Error(`${this.name} is already running, pid ${this.pid}`);
    this.#run?.notify[Symbol.dispose]();
    const { namespace, directory, name } = this.#options;
    const notify = new NotifySocket(join(directory, `${name}.notify`));
    const log = openSync(this.logFile, "a");
    try {
      const inherited = Object.entries(process.env).filter(([key]) => !FOREIGN_VARIABLES.test(key));
      const env = { ...Object.fromEntries(inherited), ...this.#options.env, NOTIFY_SOCKET: notify.path };
      const startedAt = performance.now();
      const child = namespace.spawn(this.argv, { env, stdio: ["ignore", log, log] });
      const exited = ended(child);
      exited.catch(() => {}); // it is also told to whoever asks
      await once(child, "spawn");
      const id = child.pid === undefined ? undefined : processId(child.pid);
      this.#run = { child, id, notify, startedAt, exited };
    } catch (error) {
      notify[Symbol.dispose]();
      throw error;
    } finally {
      closeSync(log);
    }
  }

  /**
   * Waits for READY=1 of the last start.
   * @returns how long that took since the program was started
   * @throws if it ends before, or is not ready in time; with the end of its log
   */
  async ready({ signal = this.#options.signal, within = 30_000 }: DeadlineOptions = {}): Promise<Milliseconds> {
    const run = this.#run;
    if (run === undefined) throw new Error(`${this.name} has not been started`);
    const diedFirst = run.exited.then((code) => {
      throw new Error(`${this.name} ended with ${code} before it was ready`);
    });
    diedFirst.catch(() => {});
    try {
      const readyAt = await waitFor((signal) => Promise.race([run.notify.ready({ signal }), diedFirst]), {
        signal,
        within,
        what: `READY=1 of ${this.name}`,
      });
      return readyAt - run.startedAt;
    } catch (error) {
      if (signal.aborted || !(error instanceof Error)) throw error;
      throw new Error(`${error.message}${this.#lastLines()}`, { cause: error });
    }
  }

  #lastLines(): string {
    const lines = this.log().trimEnd().split("\n").slice(-8);
    return lines.join("") === ""
      ? "; it wrote nothing"
      : `; its last lines, of ${this.logFile}:\n  ${lines.join("\n  ")}`;
  }

  /** Signals the running program and waits for its end. @returns its exit code @throws if it does not end in time */
  async stop(
    how: NodeJS.Signals = "SIGTERM",
    { signal = this.#options.signal, within = 10_000 }: DeadlineOptions = {},
  ): Promise<number> {
    const { exited } = this;
    this.signal(how);
    return await waitFor((signal) => orAbort(exited, signal), {
      signal,
      within,
      what: `${this.name} ends after ${how}`,
    });
  }

  /** Sends a signal if it is running: SIGSTOP freezes it. */
  signal(how: NodeJS.Signals): void {
    if (this.isRunning && this.#run?.id !== undefined) signalProcess(this.#run.id, how);
  }

  /** As an administrator restarts it, or with SIGKILL as if it had crashed. @returns how long until it was ready */
  async restart(how: NodeJS.Signals = "SIGTERM", options: DeadlineOptions = {}): Promise<Milliseconds> {
    if (this.isRunning) await this.stop(how, options);
    await this.start();
    return await this.ready(options);
  }

  /** Stops listening for READY=1 and no longer keeps this program waiting for the child's end; the child is left alone. */
  release(): void {
    this.#run?.notify[Symbol.dispose]();
    this.#run?.child.unref();
  }
}
