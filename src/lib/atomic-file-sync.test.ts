import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { writeFileAtomicallySync } from "./atomic-file-sync.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "atomic-file-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

test("writeFileAtomicallySync() replaces the text under a new inode, and leaves nothing beside it", () => {
  const path = join(directory, "record");
  writeFileSync(path, "old, and longer than the new one\n");
  const { ino } = statSync(path);
  writeFileAtomicallySync(path, "new\n", { mode: 0o600 });
  expect(readFileSync(path, "utf8")).toBe("new\n");
  expect(statSync(path).ino).not.toBe(ino);
  expect(readdirSync(directory)).toEqual(["record"]);
});

test("writeFileAtomicallySync() gives the mode asked for, whatever the umask and the old file's mode", () => {
  const path = join(directory, "record");
  writeFileSync(path, "old", { mode: 0o644 });
  writeFileAtomicallySync(path, "new", { mode: 0o666 }); // no usual umask lets this through
  expect(statSync(path).mode & 0o777).toBe(0o666);
});

test("writeFileAtomicallySync() leaves the old file alone and nothing behind when it fails", () => {
  mkdirSync(join(directory, "record", "full"), { recursive: true });
  expect(() => writeFileAtomicallySync(join(directory, "record"), "new", { mode: 0o600 })).toThrow(/EISDIR|ENOTEMPTY/);
  expect(readdirSync(directory)).toEqual(["record"]);
});
