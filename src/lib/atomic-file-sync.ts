import { closeSync, fchmodSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { AtomicFileOptions } from "./atomic-file.ts";

/**
 * As `writeFileAtomically()`, for a program that lives for a moment and waits for nothing else: Node's file system with promises takes
 * longer to load than the file to write.
 * @throws what the file system throws; then the old file is untouched and nothing new is left beside it
 */
export function writeFileAtomicallySync(path: string, text: string, { mode }: AtomicFileOptions): void {
  const directory = dirname(path);
  const temporary = join(directory, `.${basename(path)}.${process.pid}.tmp`);
  try {
    rmSync(temporary, { force: true }); // of a process of the same number that was killed
    withFile(temporary, "wx", (file) => {
      writeFileSync(file, text);
      fchmodSync(file, mode);
      fsyncSync(file);
    });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  withFile(directory, "r", fsyncSync); // the new name is in the directory, which is on disk only once synced
}

function withFile(path: string, flags: string, work: (file: number) => void): void {
  const file = openSync(path, flags, 0o600);
  try {
    work(file);
  } finally {
    closeSync(file);
  }
}
