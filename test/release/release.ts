import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../../", import.meta.url));

function dist(...args: readonly string[]): void {
  execFileSync(process.execPath, [join(root, "scripts/dist.mjs"), ...args], {
    stdio: ["ignore", "inherit", "inherit"],
  });
}

/** What `npm run dist` made last, made anew if the sources are newer. @returns paths of the files */
export function release(): readonly string[] {
  dist("--if-stale");
  const directory = join(root, "dist/release");
  const lines = readFileSync(join(directory, "SHA256SUMS"), "utf8").trim().split("\n");
  return [...lines.map((line) => join(directory, line.split("  ")[1] ?? "")), join(directory, "SHA256SUMS")];
}

/** The same packed once more, perhaps as another version; for this machine only. */
export function repacked(version?: string): { readonly path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), "flannel-repacked-"));
  dist("--repack", path, "--arch", architecture, ...(version === undefined ? [] : ["--as", version]));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** Of this machine, as Debian says it. */
export const architecture = process.arch === "x64" ? "amd64" : "arm64";

/** The only file whose name ends so. */
export function one(files: readonly string[], ending: string): string {
  const [found, ...others] = files.filter((file) => file.endsWith(ending));
  if (found === undefined || others.length > 0)
    throw new Error(`not one file ends with ${ending}: ${files.map((file) => basename(file)).join(", ")}`);
  return found;
}

export function output(command: string, ...args: readonly string[]): string {
  return execFileSync(command, args, { encoding: "utf8", maxBuffer: 1 << 28 });
}
