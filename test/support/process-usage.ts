import { readFileSync } from "node:fs";

/** What a process occupies in memory now, MiB: VmRSS of /proc/PID/status. */
export function residentMiB(pid: number): number {
  return statusKiB(pid, "VmRSS") / 1024;
}

/** The most it ever occupied, MiB: VmHWM. */
export function peakResidentMiB(pid: number): number {
  return statusKiB(pid, "VmHWM") / 1024;
}

function statusKiB(pid: number, field: string): number {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  const value = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(status)?.[1];
  if (value === undefined) throw new Error(`process ${pid} has no ${field}`);
  return Number(value);
}

/** USER_HZ, proc(5): what user programs see is 100 on every architecture that we run on. */
const TICKS_PER_SECOND = 100;

/** Processor time that a process has used, all its threads together, in seconds. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
