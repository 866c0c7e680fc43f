import { readFileSync } from "node:fs";
import type { Milliseconds } from "../lib/clock.ts";

/** USER_HZ, the unit of times in /proc: the same on x64 and arm64. proc_pid_stat(5). */
const TICKS_PER_SECOND = 100;

/** Processor time that this thread has used, and programs that this process ran to their end: only differences mean something. */
export function processorTime(): Milliseconds {
  const { user, system } = process.threadCpuUsage();
  const stat = readFileSync("/proc/self/stat", "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" "); // from the third on; the second is a name that may hold anything
  const [cutime, cstime] = fields.slice(13, 15).map(Number);
  return (user + system) / 1_000 + (((cutime ?? 0) + (cstime ?? 0)) * 1_000) / TICKS_PER_SECOND;
}
