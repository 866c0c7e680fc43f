import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { InvalidConfigError } from "../lib/errors.ts";
import type { LabName } from "./address-plan.ts";
import { isAlive, type ProcessId, processId } from "./processes.ts";

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

export type StoreKind = "embedded" | "etcd2" | "etcd3";

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
    throw new InvalidConfigError("name", `there is a lab ${record.name} already: see \`flannel lab ls\``, {
      cause: error,
    });
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
  try {
    return JSON.parse(readFileSync(join(directory, "lab.json"), "utf8")) as LabRecord;
  } catch {
    return undefined;
  }
}

/** Gives the name back, with the lab's files. */
export function releaseName(name: LabName): void {
  rmSync(labDirectory(name), { recursive: true, force: true, maxRetries: 3 });
}

/** Every lab on this machine, also those whose owner is dead. */
export function listRecords(): readonly LabRecord[] {
  return directoryNames().flatMap((name) =>
    name.startsWith(".") ? [] : (readRecordAt(join(LABS_DIRECTORY, name)) ?? []),
  );
}

/** Whether its owner died without taking it down. */
export function isOrphan({ owner }: LabRecord): boolean {
  return owner !== undefined && !isAlive(owner);
}

/** Removes what a process that died while claiming a name left. */
export function removeStaging(): void {
  for (const name of directoryNames()) {
    const pid = /^\..*\.(\d+)$/.exec(name)?.[1];
    if (pid !== undefined && processId(Number(pid)) === undefined)
      rmSync(join(LABS_DIRECTORY, name), { recursive: true, force: true });
  }
}

function directoryNames(): readonly string[] {
  try {
    return readdirSync(LABS_DIRECTORY);
  } catch {
    return [];
  }
}
