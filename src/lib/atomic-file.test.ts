import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { writeFileAtomically } from "./atomic-file.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atomic-file-"));
});
afterEach(() => rm(directory, { recursive: true }));

test("writeFileAtomically() replaces the text and leaves nothing beside it", async () => {
  const path = join(directory, "subnet.env");
  await writeFile(path, "old, and longer than the new one\n");
  await writeFileAtomically(path, "new\n", { mode: 0o644 });
  expect(await readFile(path, "utf8")).toBe("new\n");
  expect(await readdir(directory)).toEqual(["subnet.env"]);
});

test("writeFileAtomically() gives the mode asked for, whatever the umask and the old file's mode", async () => {
  const path = join(directory, "subnet.env");
  await writeFile(path, "old", { mode: 0o600 });
  await writeFileAtomically(path, "new", { mode: 0o666 }); // no usual umask lets this through
  expect((await stat(path)).mode & 0o777).toBe(0o666);
});

test("writeFileAtomically() leaves no temporary file behind when it fails", async () => {
  await mkdir(join(directory, "subnet.env", "full"), { recursive: true });
  await expect(writeFileAtomically(join(directory, "subnet.env"), "new", { mode: 0o644 })).rejects.toThrow(
    /EISDIR|ENOTEMPTY/,
  );
  expect(await readdir(directory)).toEqual(["subnet.env"]);
});

test("writeFileAtomically() fails with the same message each time, so that it need be logged only once", async () => {
  const path = join(directory, "nowhere", "subnet.env");
  const fail = () => writeFileAtomically(path, "new", { mode: 0o644 }).catch((error: unknown) => String(error));
  const first = await fail();
  expect(first).toMatch(/ENOENT/);
  expect(await fail()).toBe(first);
});

test("writeFileAtomically() keeps each of many writes at once whole", async () => {
  const path = join(directory, "subnet.env");
  const texts = Array.from({ length: 20 }, (_, index) => `${index}`.repeat(10_000));
  await Promise.all(texts.map((text) => writeFileAtomically(path, text, { mode: 0o644 })));
  expect(texts).toContain(await readFile(path, "utf8"));
  expect(await readdir(directory)).toEqual(["subnet.env"]);
});
