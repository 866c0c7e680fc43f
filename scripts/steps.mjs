// How the scripts run programs: one line for people each, the program's own output only when it fails.
import { spawn } from "node:child_process";
import { mkdtempSync, openSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

let logs;

/** A failure that a person can do something about; its message says what, its stack nothing. */
export class StepFailed extends Error {}

/** Runs a program quietly. @throws {StepFailed} after showing its output */
export async function quietly(title, command, args, { env = process.env } = {}) {
  const start = performance.now();
  process.stdout.write(`${title} … `);
  logs ??= mkdtempSync(join(tmpdir(), "flannel-prepare-"));
  const log = join(logs, `${command.replaceAll("/", "_")}-${Date.now()}.log`);
  const fd = openSync(log, "w");
  const code = await run(command, args, { env, stdio: ["ignore", fd, fd] });
  if (code !== 0) {
    console.log(`failed (${code}): ${command} ${args.join(" ")}`);
    process.stderr.write(readFileSync(log, "utf8"));
    throw new StepFailed(`${command} failed`);
  }
  console.log(`${((performance.now() - start) / 1000).toFixed(1)} s`);
}

/**
 * Runs a program and resolves with its exit code, or the signal's name, or why it could not be started.
 * @returns {Promise<number | string>}
 */
export function run(command, args, { env = process.env, stdio = "inherit" } = {}) {
  const child = spawn(command, args, { cwd: root, env, stdio });
  return new Promise((resolve) => {
    child.on("error", (error) => resolve(error.message));
    child.on("close", (code, signal) => resolve(code ?? signal));
  });
}

/** The Node that npm installed here, which runs the TypeScript. */
export function projectNode() {
  return join(root, "node_modules", `node-linux-${process.arch}`, "bin", "node");
}

/** A program of node_modules/.bin, run by that Node. */
export function tool(name, args, options) {
  return run(projectNode(), [join(root, "node_modules/.bin", name), ...args], options);
}

/** Runs a script's main function; its result is the exit code. */
export async function main(body) {
  try {
    process.exitCode = await body();
  } catch (error) {
    console.error(error instanceof StepFailed ? error.message : error);
    process.exitCode = 1;
  }
}
