import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { constants as osConstants } from "node:os";
import { delimiter, join } from "node:path";
import type { Abortable } from "../lib/abortable.ts";
import { UnsupportedError } from "../lib/errors.ts";

export interface ProgramResult {
  readonly stdout: string;
  readonly stderr: string;
  /** What a shell would show: 128 + the signal's number for a program that was killed. */
  readonly code: number;
}

export interface ExecuteOptions extends Abortable {
  readonly input?: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** A program that ran and failed. */
export class ProgramFailedError extends Error {
  override readonly name = "ProgramFailedError";
  readonly code = "program-failed";
  readonly result: ProgramResult;

  constructor(argv: readonly string[], result: ProgramResult) {
    super(`${argv.join(" ")}: exit ${result.code}: ${result.stderr.trim() || result.stdout.trim()}`);
    this.result = result;
  }
}

/** Debian's packages of the programs that a lab may need. */
const PACKAGES: Readonly<Record<string, string>> = {
  ip: "iproute2",
  bridge: "iproute2",
  ping: "iputils-ping",
  etcd: "etcd-server",
  etcdctl: "etcd-client",
  iperf3: "iperf3",
  tcpdump: "tcpdump",
};

/** Where administrators' programs are, also for a user whose PATH does not name these. */
const SYSTEM_DIRECTORIES = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

export function searchPath(): string {
  return [process.env["PATH"] ?? "/usr/local/bin:/usr/bin:/bin", ...SYSTEM_DIRECTORIES].join(delimiter);
}

/** @throws {UnsupportedError} naming the package that brings it */
export function programPath(name: string): string {
  for (const directory of searchPath().split(delimiter)) {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      continue;
    }
  }
  const debianPackage = PACKAGES[name];
  throw new UnsupportedError(
    `program ${name}`,
    `the program ${name} is not installed`,
    debianPackage === undefined ? undefined : `apt-get install ${debianPackage}`,
  );
}

/**
 * Starts a program, never through a shell, in a session of its own: a Ctrl-C at the terminal is for us, who then end it in order.
 * The caller owns the process.
 */
export function startProgram(argv: readonly string[], options: SpawnOptions = {}): ChildProcess {
  const [name = "", ...args] = argv;
  const path = name.includes("/") ? name : programPath(name);
  const env = { ...(options.env ?? process.env), PATH: searchPath() };
  return spawn(path, args, { detached: true, ...options, env });
}

/** Runs a program to its end. Rejects with `signal.reason`, after the program has ended, if asked to stop. */
export async function execute(argv: readonly string[], options: ExecuteOptions): Promise<ProgramResult> {
  const { signal, input } = options;
  signal.throwIfAborted();
  const env = options.env ?? process.env;
  const child = startProgram(argv, { env, stdio: [input === undefined ? "ignore" : "pipe", "pipe", "pipe"] });
  const onAbort = () => signalGroup(child, "SIGTERM");
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    const output = { stdout: "", stderr: "" };
    for (const stream of ["stdout", "stderr"] as const)
      child[stream]?.setEncoding("utf8").on("data", (text: string) => (output[stream] += text));
    child.stdin?.on("error", () => {}); // EPIPE: it ended without reading everything; its exit code tells why
    child.stdin?.end(input);
    const code = await ended(child);
    signal.throwIfAborted();
    return { ...output, code };
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** @returns its standard output @throws {ProgramFailedError} unless it exits with 0 */
export async function run(argv: readonly string[], options: ExecuteOptions): Promise<string> {
  const result = await execute(argv, options);
  if (result.code !== 0) throw new ProgramFailedError(argv, result);
  return result.stdout;
}

/** Signals a program started here and whatever it has started in its session. */
export function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  process.kill(-child.pid, signal);
}

/** Resolves with the exit code once the program has ended and its output is read. */
export function ended(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve(code ?? 128 + signalNumber(signal)));
  });
}

function signalNumber(signal: NodeJS.Signals | null): number {
  return signal === null ? 0 : (osConstants.signals[signal] ?? 0);
}
