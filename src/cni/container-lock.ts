import { spawnSync } from "node:child_process";
import { closeSync, constants, fstatSync, mkdirSync, openSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { CNI_CODE, CniError } from "./cni-error.ts";

/** One container, held by one plugin at a time. */
export interface ContainerLock extends Disposable {
  /** A delegate that inherits it keeps the lock for as long as it runs, also if this process is killed meanwhile. */
  readonly descriptor: number;
  /** Takes the file away, for when the container is gone. */
  remove(): void;
}

/** Seconds an operation waits for another on the same container. A runtime's own patience is two to four minutes. */
const PATIENCE = 60;

/**
 * Runtimes do not run two operations on a container at once, but they give up on one that takes long, and begin the next while the
 * delegate of the first still works. By flock(1), since Node has no call for it.
 * @throws {CniError} if another operation goes on for a minute
 */
export function lockContainer(directory: string, containerID: string): ContainerLock {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const lock = takeLock(directory, containerID, ["--timeout", `${PATIENCE}`]);
  if (lock !== undefined) return lock;
  const why = `another operation on container ${containerID} has been running for ${PATIENCE} s`;
  throw new CniError(CNI_CODE.tryAgainLater, why);
}

/** @returns undefined if an operation on the container is under way */
export function tryLockContainer(directory: string, containerID: string): ContainerLock | undefined {
  return takeLock(directory, containerID, ["--nonblock"]);
}

function takeLock(directory: string, containerID: string, how: readonly string[]): ContainerLock | undefined {
  const path = join(directory, `.${containerID}.lock`);
  for (;;) {
    const descriptor = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    const lock = {
      descriptor,
      remove: () => rmSync(path, { force: true }),
      [Symbol.dispose]: () => closeSync(descriptor),
    };
    // The lock is the open file's, which the other process shares with this one.
    const { error, status } = spawnSync("flock", ["--exclusive", ...how, "3"], {
      stdio: ["ignore", "ignore", "inherit", descriptor],
    });
    if (error !== undefined) process.stderr.write(`flannel: no lock on container ${containerID}: ${error.message}\n`);
    else if (status !== 0) {
      closeSync(descriptor);
      return undefined;
    }
    // Who had it before may have taken the file away, and the next one made a new one.
    if (statSync(path, { throwIfNoEntry: false })?.ino === fstatSync(descriptor).ino) return lock;
    closeSync(descriptor);
  }
}
