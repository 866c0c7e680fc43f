import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { outcome, start } from "./program.ts";

export interface StopOptions {
  /** ms */
  readonly delay: number;
  readonly signal: NodeJS.Signals;
  /** Whether the delay begins with its first line of log, instead of its start. */
  readonly heard?: boolean;
  readonly env?: Readonly<Record<string, string>>;
  /** The process that is told; else the one that was started. */
  readonly target?: (pid: number) => number;
}

/** How a program ends that is told to stop some time after its start. */
export async function stopAfter([program = "", ...args]: readonly string[], options: StopOptions) {
  const { delay, signal, heard = false, env = {}, target = (pid: number) => pid } = options;
  const child = start(program, args, { env });
  const ended = outcome(child);
  await (heard && child.stderr !== null ? once(child.stderr, "data") : once(child, "spawn"));
  if (delay > 0) await sleep(delay);
  const told = performance.now();
  if (child.pid !== undefined) process.kill(target(child.pid), signal);
  const { end, stderr } = await ended;
  return { delay, end, inTime: performance.now() - told < 1000, errors: stderr.match(/^[EF].*|^ +at .*/gm) };
}
