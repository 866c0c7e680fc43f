import { mkdirSync, readFileSync, readlinkSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import * as v from "valibot";
import { type ProcessId, processId } from "../kernel/process-id.ts";
import { bootId } from "../lib/boot-id.ts";

/** Which process holds a daemon's descriptors, and for whom. */
export interface HandoverRecord {
  readonly holder: ProcessId;
  /** Whose descriptors they are. */
  readonly daemon: ProcessId;
  /** Names of what the holder has as descriptors 3, 4 and so on. */
  readonly names: readonly string[];
}

const Process = v.object({
  pid: v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(0x7fff_ffff)),
  startTime: v.pipe(v.string(), v.regex(/^\d{1,20}$/)),
});

const StoredRecord = v.object({
  /** Of these pids: another boot has others, and so has another container. */
  pidsOf: v.string(),
  holder: Process,
  daemon: Process,
  names: v.pipe(v.array(v.string()), v.minLength(1), v.maxLength(100)),
});

/** A record that somebody else could have written: it names processes that we would take from, and end. */
const WRITABLE_BY_OTHERS = 0o022;

/** @returns undefined if there is none that is of use here and now @throws {Error} if it makes no sense */
export function readHandoverRecord(path: string): HandoverRecord | undefined {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return undefined;
  if (stats.uid !== process.geteuid?.() || (stats.mode & WRITABLE_BY_OTHERS) !== 0)
    throw new Error("others could have written it");
  const { pidsOf, ...record } = v.parse(StoredRecord, JSON.parse(readFileSync(path, "utf8")));
  return pidsOf === pidSpace() ? record : undefined;
}

/**
 * Atomic, and at once, so that nothing comes between this and what it makes true. Not synced to disk: it means nothing after a power cut.
 * @throws what the file system throws
 */
export function writeHandoverRecord(path: string, record: HandoverRecord): void {
  const stored: v.InferInput<typeof StoredRecord> = { pidsOf: pidSpace(), ...record, names: [...record.names] };
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    rmSync(temporary, { force: true });
    writeFileSync(temporary, `${JSON.stringify(stored)}\n`, { flag: "wx", mode: 0o600 });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** Where and since when a pid means what it means here. */
function pidSpace(): string {
  return `${bootId()} ${readlinkSync("/proc/self/ns/pid")}`;
}

/** @throws {Error} if proc(5) does not show us */
export function ownProcessId(): ProcessId {
  const id = processId(process.pid);
  if (id === undefined) throw new Error("/proc does not show this process");
  return id;
}
