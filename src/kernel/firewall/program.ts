import type { ChildProcess } from "node:child_process";
import { accessSync, closeSync, constants, realpathSync, writeSync } from "node:fs";
import { basename, delimiter, join } from "node:path";
import type { Abortable } from "../../lib/abortable.ts";
import { type Milliseconds, systemClock } from "../../lib/clock.ts";
import { memoryFile } from "../libc.ts";
import { inNamespace } from "../namespace.ts";

/** Where administrators' programs are, also for a daemon whose PATH does not name these. */
const SYSTEM_DIRECTORIES = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/** A program that waits longer, for a lock or for a kernel, will not come back. */
const PATIENCE: Milliseconds = 15_000;

/** Bytes of output; the rules of a large Kubernetes node take a tenth. */
const MOST_OUTPUT = 256 << 20;

export interface RunOptions extends Abortable {
  /** The network namespace, a path; undefined is where we are. */
  readonly namespace: string | undefined;
  readonly input?: string;
  /** Told of the process that is about to work, so that its doings can be told from others'. */
  readonly onStart?: (pid: number) => void;
}

export interface ProgramOutput {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program ran and failed. */
export class ProgramError extends Error {
  override readonly name = "ProgramError";
  readonly code = "program";

  constructor(command: string, output: ProgramOutput) {
    super(`${command}: exit ${output.code}: ${firstLines(output.stderr) || firstLines(output.stdout) || "no output"}`);
  }
}

/** Its path; undefined if it is not installed. */
export function findProgram(name: string): string | undefined {
  for (const directory of searchPath()) {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {}
  }
  return undefined;
}

/** The name of what a path leads to: `/usr/sbin/iptables` may be `xtables-nft-multi`. */
export function realName(path: string): string {
  try {
    return basename(realpathSync(path));
  } catch {
    return basename(path);
  }
}

/** Runs a program, never through a shell, to its end, whatever that is. Rejects with `signal.reason`, once the program has ended. */
export async function execute(
  path: string,
  args: readonly string[],
  { namespace, input, onStart, signal }: RunOptions,
): Promise<ProgramOutput> {
  const { spawn } = await import("node:child_process"); // takes 5 ms to load, which a daemon without rules need not spend
  signal.throwIfAborted();
  const stdin = input === undefined ? undefined : fileOf(input);
  let child: ChildProcess;
  try {
    child = inNamespace(namespace, () =>
      spawn(path, args, {
        stdio: [stdin ?? "ignore", "pipe", "pipe"],
        env: { PATH: searchPath().join(delimiter), LC_ALL: "C" },
      }),
    );
  } finally {
    if (stdin !== undefined) closeSync(stdin);
  }
  if (child.pid !== undefined) onStart?.(child.pid);
  const kill = () => child.kill("SIGKILL");
  const inTime = new AbortController();
  void systemClock.sleep(PATIENCE, inTime).then(kill, () => {});
  signal.addEventListener("abort", kill, { once: true });
  try {
    const output = await outputOf(child, kill);
    signal.throwIfAborted();
    return output;
  } finally {
    inTime.abort();
    signal.removeEventListener("abort", kill);
  }
}

/** @returns its standard output @throws {ProgramError} unless it exits with 0 */
export async function run(path: string, args: readonly string[], options: RunOptions): Promise<string> {
  const output = await execute(path, args, options);
  if (output.code !== 0) throw new ProgramError([basename(path), ...args].join(" "), output);
  return output.stdout;
}

/** Standard input as a file in memory: nft opens /dev/stdin anew, which works with no socket, and Node's pipes are sockets. */
function fileOf(input: string): number {
  const fd = memoryFile("flannel");
  const bytes = Buffer.from(input);
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, at); // leaves the position at 0
  return fd;
}

function outputOf(child: ChildProcess, kill: () => void): Promise<ProgramOutput> {
  return new Promise((resolve, reject) => {
    const output = { stdout: "", stderr: "" };
    for (const stream of ["stdout", "stderr"] as const)
      child[stream]?.setEncoding("utf8").on("data", (text: string) => {
        output[stream] += text;
        if (output[stream].length > MOST_OUTPUT) kill();
      });
    child.once("error", reject);
    child.once("close", (code) => resolve({ code: code ?? -1, ...output }));
  });
}

function searchPath(): readonly string[] {
  return [
    ...(process.env["PATH"] ?? "").split(delimiter).filter((part) => part.startsWith("/")),
    ...SYSTEM_DIRECTORIES,
  ];
}

function firstLines(text: string): string {
  return text.trim().split("\n").slice(0, 3).join(" ");
}
