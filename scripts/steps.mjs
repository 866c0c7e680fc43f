// How the scripts run programs: one line for people each, the program's own output only when it fails.
import { spawn } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

let logs;
let steps = 0;

/** A failure that a person can do something about; its message says what, its stack nothing. */
export class StepFailed extends Error {}

/** Runs a program quietly. @param whole whether its line is printed at its end, since others run meanwhile @throws {StepFailed} after showing its output */
export async function quietly(title, command, args, { env = process.env, cwd = root, whole = false } = {}) {
  const start = performance.now();
  const beginning = `${title} … `;
  if (!whole) process.stdout.write(beginning);
  const log = join(logsDirectory(), `${command.replaceAll("/", "_")}-${++steps}.log`);
  const fd = openSync(log, "w");
  const code = await run(command, args, { env, cwd, stdio: ["ignore", fd, fd] });
  if (code !== 0) {
    console.log(`${whole ? beginning : ""}failed (${code}): ${command} ${args.join(" ")}`);
    process.stderr.write(readFileSync(log, "utf8"));
    throw new StepFailed(`${command} failed`);
  }
  console.log(`${whole ? beginning : ""}${((performance.now() - start) / 1000).toFixed(1)} s`);
}

/** For what programs print; what matters of it has been shown when we end. */
function logsDirectory() {
  if (logs === undefined) {
    logs = mkdtempSync(join(tmpdir(), "flannel-prepare-"));
    process.once("exit", () => rmSync(logs, { recursive: true, force: true }));
  }
  return logs;
}

/** As {@link quietly}, for steps that run side by side. */
export async function step(title, command, args, options = {}) {
  await quietly(title, command, args, { ...options, whole: true });
}

/**
 * Runs a program and resolves with its exit code, or the signal's name, or why it could not be started.
 * @returns {Promise<number | string>}
 */
export function run(command, args, { env = process.env, cwd = root, stdio = "inherit" } = {}) {
  const child = spawn(command, args, { cwd, env, stdio });
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
