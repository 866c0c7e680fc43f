import { open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

export interface AtomicFileOptions {
  /** Permission bits, whatever the umask says. */
  readonly mode: number;
}

/** Temporary files being written. The same failure shall have the same message each time, so no name is new without need. */
const busy = new Set<string>();

/**
 * Replaces the file at once and for good: a reader sees the old content or the new one, and after a power cut one of them is there.
 * The directory must exist. Not abortable: it is short, and half of it is of no use.
 * @throws what the file system throws; then the old file is untouched and nothing new is left beside it
 */
export async function writeFileAtomically(
  path: string,
  content: string | Uint8Array,
  { mode }: AtomicFileOptions,
): Promise<void> {
  const directory = dirname(path);
  const temporary = freeName(join(directory, `.${basename(path)}.${process.pid}`));
  busy.add(temporary);
  try {
    await rm(temporary, { force: true }); // of a process of the same number that was killed
    {
      await using file = await open(temporary, "wx", 0o600);
      await file.writeFile(content);
      await file.chmod(mode);
      await file.sync();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  } finally {
    busy.delete(temporary);
  }
  await using handle = await open(directory, "r"); // the new name is in the directory, which is on disk only once synced
  await handle.sync();
}

function freeName(prefix: string): string {
  for (let number = 1; ; number++) {
    const name = `${prefix}-${number}.tmp`;
    if (!busy.has(name)) return name;
  }
}
