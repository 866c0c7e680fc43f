import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isAlive, type ProcessId, processId } from "../kernel/process-id.ts";
import { InvalidConfigError } from "../lib/errors.ts";
import type { LabName } from "./address-plan.ts";

/** One directory per lab; what is in none of them needs no cleaning up. */
export const LABS_DIRECTORY = "/run/flannel-lab";

/** What another process has to know of a lab: `lab.json` in its directory. */
export interface LabRecord {
  readonly name: LabName;
  /** The process that must live for the lab to live; none once the lab was left running by itself. */
  readonly owner?: ProcessId;
  readonly created: string;
  readonly network: string;
  readonly backend: string;
  readonly store: StoreKind;
  readonly hosts: readonly HostRecord[];
}

export type StoreKind = "embedded" | "etcd2" | "etcd3" | "server";

export interface HostRecord {
  readonly name: string;
  readonly address: string;
  readonly namespace: string;
  readonly log: string;
  readonly daemon?: ProcessId;
  readonly pods: readonly PodRecord[];
}

export interface PodRecord {
  readonly name: string;
  readonly address: string;
  /** Besides an IPv4 one. */
  readonly ipv6?: string;
  readonly namespace: string;
}

export function labDirectory(name: LabName): string {
  return join(LABS_DIRECTORY, name);
}

/** Takes the lab's name, before anything of the lab is made. @throws {InvalidConfigError} if another lab has it */
export function claim(record: LabRecord): void {
  const staging = join(LABS_DIRECTORY, `.${record.name}.${process.pid}`);
  mkdirSync(staging, { recursive: true, mode: 0o755 });
  writeFileSync(join(staging, "lab.json"), JSON.stringify(record));
  try {
    renameSync(staging, labDirectory(record.name)); // onto a directory that holds anything, this fails
  } catch (error) {
    rmSync(staging, { recursive: true });
    if (!["ENOTEMPTY", "EEXIST"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    throw new InvalidConfigError("name", `there is a lab ${record.name} already; \`flannel lab ls\` shows it`);
  }
}

/** Replaces the record in one step, so that a reader never sees half of it. */
export function writeRecord(record: LabRecord): void {
  const file = join(labDirectory(record.name), "lab.json");
  writeFileSync(`${file}.new`, `${JSON.stringify(record, undefined, 2)}\n`);
  renameSync(`${file}.new`, file);
}

export function readRecord(name: LabName): LabRecord | undefined {
  return readRecordAt(labDirectory(name));
}

function readRecordAt(directory: string): LabRecord | undefined {
  const taken = takenFile(directory);
  try {
    const record = JSON.parse(readFileSync(join(directory, taken?.name ?? "lab.json"), "utf8")) as LabRecord;
    return taken === undefined ? record : { ...record, owner: taken.by };
  } catch {
    return undefined;
  }
}

/** Names the process that is taking a lab down; it stands in the place of lab.json. */
const TAKEN = /^taken\.(\d+)\.(\d+)$/;

/**
 * Makes this process the one that takes the lab down; the name stays taken until `releaseName()`.
 * @returns false if another living process is at it already, or the lab is gone
 */
export function takeOver(name: LabName): boolean {
  const self = processId(process.pid);
  if (self === undefined) throw new Error("this process is not in /proc");
  const directory = labDirectory(name);
  const taken = takenFile(directory);
  if (taken !== undefined && isAlive(taken.by)) return taken.by.pid === self.pid;
  const marker = join(directory, `taken.${self.pid}.${self.startTime}`);
  try {
    if (taken === undefined && readRecordAt(directory) === undefined)
      writeFileSync(marker, "{}"); // somebody damaged it
    else renameSync(join(directory, taken?.name ?? "lab.json"), marker); // of two who try, one fails
    return true;
  } catch {
    return false;
  }
}

function takenFile(directory: string): { readonly name: string; readonly by: ProcessId } | undefined {
  for (const name of entries(directory)) {
    const [, pid, startTime] = TAKEN.exec(name) ?? [];
    if (pid !== undefined && startTime !== undefined) return { name, by: { pid: Number(pid), startTime } };
  }
  return undefined;
}

/** Gives the name back, with the lab's files. */
export function releaseName(name: LabName): void {
  rmSync(labDirectory(name), { recursive: true, force: true, maxRetries: 3 });
}

/** Every lab on this machine, also those whose owner is dead. */
export function listRecords(): readonly LabRecord[] {
  return entries(LABS_DIRECTORY).flatMap((name) =>
    name.startsWith(".") ? [] : (readRecordAt(join(LABS_DIRECTORY, name)) ?? []),
  );
}

/** Whether its owner died without taking it down. */
export function isOrphan({ owner }: LabRecord): boolean {
  return owner !== undefined && !isAlive(owner);
}

/** Removes what a process that died while claiming a name left. */
export function removeStaging(): void {
  for (const name of entries(LABS_DIRECTORY)) {
    const pid = /^\..*\.(\d+)$/.exec(name)?.[1];
    if (pid !== undefined && processId(Number(pid)) === undefined)
      rmSync(join(LABS_DIRECTORY, name), { recursive: true, force: true });
  }
}

function entries(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
