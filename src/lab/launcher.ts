import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { isSea } from "node:sea";

/** The program as a user starts it: in `bin/` of this project, from the sources and from the build; beside the executable of a release. */
export function launcher(name: "flannel" | "flanneld"): string {
  if (isSea()) return join(dirname(process.execPath), name);
  for (let directory = import.meta.dirname; ; directory = dirname(directory)) {
    if (existsSync(join(directory, "package.json"))) return join(directory, "bin", name);
    if (directory === dirname(directory)) throw new Error(`bin/${name} is not above ${import.meta.dirname}`);
  }
}
