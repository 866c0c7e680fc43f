import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { FileLock, lockHolders } from "./file-lock.ts";

function path(): string {
  const directory = mkdtempSync(join(tmpdir(), "flannel-lock-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return join(directory, "lock");
}

test("FileLock may be shared by several, and shows who has it", () => {
  const file = path();
  using one = FileLock.tryLock(file, "shared");
  using two = FileLock.tryLock(file, "shared");
  expect([one, two]).not.toContain(undefined);
  expect(FileLock.tryLock(file, "alone")).toBeUndefined();
  expect(lockHolders(file)).toEqual([process.pid]);
});

test("FileLock can be had alone once nobody has it, and keeps others out", () => {
  const file = path();
  FileLock.tryLock(file, "shared")?.[Symbol.dispose]();
  using alone = FileLock.tryLock(file, "alone");
  expect(alone).toBeDefined();
  expect(FileLock.tryLock(file, "shared")).toBeUndefined();
});

test("FileLock fails where there is no directory, and names the file", () => {
  expect(() => FileLock.tryLock("/nowhere/at/all", "shared")).toThrow(/ENOENT.*\/nowhere\/at\/all/);
});
