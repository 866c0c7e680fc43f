import { spawnSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";

/**
 * The file that one operation at a time holds by flock(2), as Node cannot, but flock(1) can. Runtimes do not run two operations on a
 * container at once; but they give up on one that takes long, and begin the next while the delegate of the first still works.
 * A delegate inherits the lock and keeps it for as long as it runs. There are 256 files for all containers, which stay for good:
 * that two containers share one makes one of them wait for the other, no more.
 */
export function lockFile(directory: string, containerID: string): string {
  return join(directory, `.lock-${hash(containerID).toString(16).padStart(2, "0")}`);
}

/** For as long as it is not disposed of, the container is ours. */
export interface ContainerLock extends Disposable {
  readonly descriptor: number;
}

/** @returns undefined if an operation on the container is under way */
export function tryLockContainer(directory: string, containerID: string): ContainerLock | undefined {
  const descriptor = openSync(lockFile(directory, containerID), "a", 0o600);
  // The lock is the open file's, which the other program shares with this one.
  const { status } = spawnSync("flock", ["-n", "3"], { stdio: ["ignore", "ignore", "inherit", descriptor] });
  if (status === 0) return { descriptor, [Symbol.dispose]: () => closeSync(descriptor) };
  closeSync(descriptor);
  return undefined;
}

/** 0 to 255: FNV-1a, folded. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (const byte of Buffer.from(text)) value = Math.imul(value ^ byte, 0x01000193) >>> 0;
  return (value ^ (value >>> 8) ^ (value >>> 16) ^ (value >>> 24)) & 0xff;
}
