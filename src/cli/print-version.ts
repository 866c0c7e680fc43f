import { writeSync } from "node:fs";
import { versionLine } from "./version.ts";

/** What `flanneld --version` says, by itself, and its exit code. */
export function printVersion(): number {
  writeSync(2, `${versionLine}\n`);
  return 0;
}
