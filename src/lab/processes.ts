import { readdirSync, statSync } from "node:fs";
import { isAlive, type ProcessId, processId } from "../kernel/process-id.ts";
import type { Abortable } from "../lib/abortable.ts";
import { systemClock } from "../lib/clock.ts";

/** Every process, but this one, whose network is one of these namespaces, given as paths. */
export function processesInNamespaces(paths: readonly string[]): readonly ProcessId[] {
  const own = namespaceIdentity("/proc/self/ns/net");
  const wanted = new Set(paths.map(namespaceIdentity).filter((identity) => identity !== undefined && identity !== own));
  if (wanted.size === 0) return [];
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .filter((pid) => wanted.has(namespaceIdentity(`/proc/${pid}/ns/net`)))
    .flatMap((pid) => processId(Number(pid)) ?? []);
}

function namespaceIdentity(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}

/** Signals a process unless it has ended meanwhile, even if its pid was given to another. */
export function signalProcess(process_: ProcessId, signal: NodeJS.Signals): void {
  if (!isAlive(process_)) return;
  try {
    process.kill(process_.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** SIGTERM, and after a second SIGKILL. Resolves when they are gone. */
export async function endProcesses(processes: readonly ProcessId[], options: Abortable): Promise<void> {
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    for (const each of processes) signalProcess(each, signal);
    for (let tries = 0; tries < 200 && processes.some(isAlive); tries++) await systemClock.sleep(5, options);
  }
}
