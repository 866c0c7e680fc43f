import { open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

export interface AtomicFileOptions {
  /** Permission bits, whatever the umask says. */
  readonly mode: number;
}

/** Tells this process's files apart that are being written at the same time. */
let written = 0;

/**
 * Replaces the file at once and for good: a reader sees the old text or the new one, and after a power cut one of them is there.
 * The directory must exist. Not abortable: it is short, and half of it is of no use.
 * @throws what the file system throws; then the old file is untouched and nothing new is left beside it
 */
export async function writeFileAtomically(path: string, text: string, { mode }: AtomicFileOptions): Promise<void> {
  const directory = dirname(path);
  const temporary = join(directory, `.${basename(path)}.${process.pid}-${++written}.tmp`);
  try {
    await rm(temporary, { force: true }); // of a process of the same number that was killed
    {
      await using file = await open(temporary, "wx", 0o600);
      await file.writeFile(text);
      await file.chmod(mode);
      await file.sync();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await using handle = await open(directory, "r"); // the new name is in the directory, which is on disk only once synced
  await handle.sync();
}
