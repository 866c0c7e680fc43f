import { once } from "node:events";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { ceiling } from "../e2e/hosts.ts";
import { outcome, start } from "./program.ts";

export interface StopOptions {
  /** ms */
  readonly delay: number;
  readonly signal: NodeJS.Signals;
  /** Where the delay begins: at its start, when its first line has run, which is to catch signals, or at its first line of log. */
  readonly from: "spawned" | "listening" | "heard";
  readonly env?: Readonly<Record<string, string>>;
  /** The process that is told; else the one that was started. Undefined as long as it is not there. */
  readonly target?: (pid: number) => number | undefined;
}

/** Then it has not heard, ms. */
const LONGEST = 30_000;

/** How a program ends that is told to stop some time after its start. */
export async function stopAfter([program = "", ...args]: readonly string[], options: StopOptions) {
  const { delay, signal, from, env = {}, target = (pid: number) => pid } = options;
  const child = start(program, args, { env });
  const ended = outcome(child);
  const limit = setTimeout(() => child.kill("SIGKILL"), LONGEST);
  await (from === "heard" && child.stderr !== null ? once(child.stderr, "data") : once(child, "spawn"));
  const told = () => (child.pid === undefined ? undefined : target(child.pid));
  // SIGTERM's is the last that the launcher sets. dash has one for SIGINT from its start on, which ends it by SIGINT where none is set.
  if (from === "listening") while (!catches(told(), "SIGTERM")) await sleep(1);
  if (delay > 0) await sleep(delay);
  const at = performance.now();
  const pid = told();
  if (pid !== undefined) process.kill(pid, signal);
  const { end, stderr } = await ended;
  clearTimeout(limit);
  return { delay, end, inTime: performance.now() - at < ceiling(1_000), errors: stderr.match(/^[EF].*|^ +at .*/gm) };
}

/** Whether a process has a handler for a signal. How long it takes to have one is the machine's business. */
function catches(pid: number | undefined, signal: NodeJS.Signals): boolean {
  if (pid === undefined) return false;
  const caught = /^SigCgt:\s*(\w+)$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? "0";
  return ((BigInt(`0x${caught}`) >> BigInt(constants.signals[signal] - 1)) & 1n) === 1n;
}
