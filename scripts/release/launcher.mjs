// The launcher of a release: bin/flanneld, which starts the one executable there instead of Node with the build.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../steps.mjs";

const FINDS_NODE = /^for node in [^]*?^(?=# Node takes longer)/m;
const STARTS_NODE = /^set -- "\$node" (.*) "\$root\/\$program" "\$@"$/m;

/** @param {string} [launcher] its text in the sources @throws if that has changed so much that this cannot follow */
export function releaseLauncher(launcher = readFileSync(join(root, "bin/flanneld"), "utf8")) {
  const flags = STARTS_NODE.exec(launcher)?.[1].replace("--disable-sigusr1 ", ""); // that one is part of the executable
  if (flags === undefined || !FINDS_NODE.test(launcher))
    throw new Error("bin/flanneld is not as scripts/release/launcher.mjs expects");
  const text = launcher
    .replace(
      /^# Runs .*$/m,
      "# Runs the executable beside it: from any directory, through symbolic links, with an empty environment.",
    )
    .replace(/^program=.*$/m, "program=lib/flannel/flanneld")
    .replace(
      FINDS_NODE,
      `if [ ! -x "$root/$program" ]; then
  echo "$name: $root/$program is missing: this script is one part of flannel only" >&2
  exit 1
fi
`,
    )
    .replace(STARTS_NODE, () => `set -- "$root/$program" --node-options="${flags}" "$@"`);
  if (/\$node\b|node_modules/.test(text)) throw new Error("the launcher still asks for Node");
  return text;
}
