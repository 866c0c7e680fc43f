import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { one, output, release, root } from "./release.ts";

test("another clone of the same commit, in another place, gives the same files, byte for byte", () => {
  // What is not committed no clone has.
  expect(output("git", "-C", root, "status", "--porcelain")).toBe("");
  const files = release();
  const path = mkdtempSync(join(tmpdir(), "flannel-another-clone-"));
  try {
    output("git", "clone", "--quiet", root, path);
    const npm = (...args: readonly string[]) =>
      execFileSync("npm", args, { cwd: path, stdio: ["ignore", "inherit", "inherit"] });
    npm("ci");
    npm("run", "dist");
    const sums = readFileSync(join(path, "dist/release/SHA256SUMS"), "utf8");
    expect(sums.split("\n")).toHaveLength(11);
    expect(sums).toBe(readFileSync(one(files, "SHA256SUMS"), "utf8"));
  } finally {
    rmSync(path, { recursive: true });
  }
}, 1_200_000);
