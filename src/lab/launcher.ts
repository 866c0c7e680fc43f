import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

/** The program as a user starts it, in `bin/` of this project; both from the sources and from the build. */
export function launcher(name: "flannel" | "flanneld"): string {
  for (let directory = import.meta.dirname; ; directory = dirname(directory)) {
    if (existsSync(join(directory, "package.json"))) return join(directory, "bin", name);
    if (directory === dirname(directory)) throw new Error(`bin/${name} is not above ${import.meta.dirname}`);
  }
}
