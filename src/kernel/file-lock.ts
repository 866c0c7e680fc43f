import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import koffi from "koffi";
import { EAGAIN, SystemCallError } from "./errno.ts";

const cFlock = koffi.load(null).func("int flock(int fd, int operation)");

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;

/** A lock on a file, flock(2), that ends with whoever has it, however that ends. */
export class FileLock implements Disposable {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Several may share it, or one alone have it; nobody is waited for. Makes the file if it is not there.
   * @returns undefined if others have it otherwise
   * @throws what the file system throws; {SystemCallError} where it has no locks
   */
  static tryLock(path: string, how: "shared" | "alone"): FileLock | undefined {
    const fd = openSync(path, "a+", 0o600);
    if (cFlock(fd, (how === "shared" ? LOCK_SH : LOCK_EX) | LOCK_NB) === 0) return new FileLock(fd);
    const errno = koffi.errno();
    closeSync(fd);
    if (errno === EAGAIN) return undefined;
    throw new SystemCallError(`flock ${path}`, errno);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

/** Who holds a lock on the file, as far as /proc shows their processes here: proc_locks(5). */
export function lockHolders(path: string): readonly number[] {
  const fd = openSync(path, "r");
  try {
    const { ino } = fstatSync(fd, { bigint: true });
    const lines = readFileSync("/proc/locks", "utf8").matchAll(/^\d+: FLOCK +\S+ +\S+ +(\d+) \w+:\w+:(\d+) /gm);
    return [...new Set([...lines].filter(([, , inode]) => inode === String(ino)).map(([, pid]) => Number(pid)))];
  } finally {
    closeSync(fd);
  }
}
