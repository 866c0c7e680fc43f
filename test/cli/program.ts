import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../../", import.meta.url));
export const flanneld = join(root, "bin/flanneld");
export const flannel = join(root, "bin/flannel");
export const flannelCni = join(root, "bin/flannel-cni");

export interface Outcome {
  /** Exit code, or the name of the signal that killed it. */
  readonly end: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  /** The whole environment; empty if not given, as by `env -i`. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts a program with its output piped. */
export function start(
  program: string,
  args: readonly string[] = [],
  { cwd = "/", env = {} }: RunOptions = {},
): ChildProcess {
  return spawn(program, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
}

/** What a program has written and how it has ended. */
export async function outcome(child: ChildProcess): Promise<Outcome> {
  if (child.stdout === null || child.stderr === null) throw new Error("output is not piped");
  const [stdout, stderr, [code, signal]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "close"),
  ]);
  return { end: (code ?? signal) as number | string, stdout, stderr };
}

export async function run(program: string, args: readonly string[] = [], options?: RunOptions): Promise<Outcome> {
  return await outcome(start(program, args, options));
}

/** A directory for one test. */
export function temporaryDirectory(): { readonly path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), "flannel-cli-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** Arguments of a flanneld that waits for a config in a store of its own, and so touches nothing. */
export function waitingFlanneld(directory: string, iface = "lo"): readonly string[] {
  return [
    `--embedded-store=${join(directory, "store.db")}`,
    `--subnet-file=${join(directory, "subnet.env")}`,
    `--state-dir=${join(directory, "state")}`,
    `--iface=${iface}`,
  ];
}
