import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { FileLock, lockHolders } from "../kernel/file-lock.ts";
import { describeError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";

const NAME = "lock";

/** Shows, for as long as this daemon lives, that the state directory is in use; several daemons may use one. Without locks it goes on without. */
export function showInUse(stateDir: string, logger: Logger): Disposable {
  try {
    mkdirSync(stateDir, { recursive: true, mode: 0o700 });
    const lock = FileLock.tryLock(join(stateDir, NAME), "shared");
    if (lock !== undefined) return lock;
    logger.warn("the state directory is being cleaned up just now", { directory: stateDir });
  } catch (error) {
    logger.debug("the state directory cannot be locked", { reason: describeError(error) });
  }
  return { [Symbol.dispose]() {} };
}

/** No daemon with this state directory may start meanwhile. */
export interface StateClaim extends Disposable {
  /** Pids of daemons that use it now, as far as they can be told; undefined if none does. */
  readonly users: readonly number[] | undefined;
}

/** Claims the state directory for clearing away what is remembered there. @throws what the file system throws */
export function claimState(stateDir: string): StateClaim {
  const path = join(stateDir, NAME);
  const lock = lockIfThere(path);
  if (lock === "no directory") return { users: undefined, [Symbol.dispose]() {} };
  return {
    users: lock === undefined ? lockHolders(path) : undefined,
    [Symbol.dispose]: () => lock?.[Symbol.dispose](),
  };
}

function lockIfThere(path: string): FileLock | "no directory" | undefined {
  try {
    return FileLock.tryLock(path, "alone");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return "no directory";
    throw error;
  }
}
