import { readFileSync } from "node:fs";

/** A process that can be told from a later one with the same pid. */
export interface ProcessId {
  readonly pid: number;
  /** Clock ticks since boot: field 22 of /proc/PID/stat, proc(5). */
  readonly startTime: string;
}

/** @returns undefined if there is no such process, or nothing but its unread exit status is left of it */
export function processId(pid: number): ProcessId | undefined {
  const stat = processStat(pid);
  return stat === undefined || stat.state === "Z" || stat.state === "X"
    ? undefined
    : { pid, startTime: stat.startTime };
}

export function isAlive({ pid, startTime }: ProcessId): boolean {
  return processId(pid)?.startTime === startTime;
}

/** @returns undefined if there is no such process */
export function processStat(pid: number): { readonly state: string; readonly startTime: string } | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return undefined;
  }
  // The program's name may hold spaces and parentheses; what follows its last parenthesis begins with field 3.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, startTime] = [fields[0], fields[19]];
  return state === undefined || startTime === undefined ? undefined : { state, startTime };
}
