// The one executable: Node without what only debuggers read, with our programs, what V8 makes of them, and koffi inside.
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { entries } from "../build.mjs";
import { bundle, compile } from "../bundle.mjs";
import { projectNode, root, step } from "../steps.mjs";
import { koffiOf, nodeOf } from "./parts.mjs";
import { slim } from "./slim.mjs";

/** Run by the main file itself, and not compiled: a thread's program. */
const THREADS = new Set(["packet-thread.cjs"]);

/**
 * Node's flags. The launcher gives some of its own, by `--node-options=`, which no program of ours sees; NODE_OPTIONS, which is meant
 * for other programs, has no effect.
 */
const NODE_FLAGS = [
  "--disable-sigusr1",
  "--max-semi-space-size=2",
  "--max-old-space-size=512",
  "--disable-warning=ExperimentalWarning",
];

/** Where the loader looks for what the system may lack, from the executable: libatomic. */
const LIBRARIES = "$ORIGIN/../lib/flannel";

/** The programs as text, by name, and the npm packages in them. They are the same for every architecture. */
export async function programs({ version, commit }) {
  const define = { FLANNEL_VERSION: JSON.stringify(version), FLANNEL_COMMIT: JSON.stringify(commit) };
  const sources = Object.entries({ ...entries(), "main.cjs": join(root, "scripts/release/one-executable.cjs") });
  const files = {};
  const inputs = new Set();
  for (const [name, source] of sources) {
    if (name === "flanneld.cjs") continue; // part of main.cjs
    const as = name === "main.cjs" || THREADS.has(name) ? undefined : "function";
    const { outputFiles, metafile } = await bundle({ source, outfile: name, layout: "executable", define, as });
    files[name] = outputFiles[0].text;
    for (const input of Object.keys(metafile.inputs)) inputs.add(input);
  }
  return { files, packages: packagesOf(inputs) };
}

/** Names of the npm packages that files come from. */
function packagesOf(inputs) {
  const names = [...inputs].flatMap((input) => {
    const match = /node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*node_modules\/)/.exec(input);
    return match === null ? [] : [match[1]];
  });
  return [...new Set([...names, "koffi"])].toSorted();
}

/** Makes the executable of an architecture. @param directory for what is made on the way @returns its path */
export async function makeExecutable(arch, { files }, directory) {
  mkdirSync(directory, { recursive: true });
  const path = (name) => join(directory, name);
  const node = path("node");
  await step(`${arch.name}: Node without its symbols`, arch.strip, ["-o", node, join(await nodeOf(arch), "bin/node")]);
  chmodSync(node, 0o755);
  const assets = { "koffi.node": path("koffi.node") };
  copyFileSync(await koffiOf(arch), assets["koffi.node"]);
  for (const [name, source] of Object.entries(files)) {
    writeFileSync(path(name), source);
    if (name === "main.cjs") continue;
    assets[name] = path(name);
    if (THREADS.has(name)) continue;
    assets[`${name}.compiled`] = path(`${name}.compiled`);
    writeFileSync(path(`${name}.compiled`), compile(source, name, [...arch.emulator, node]));
  }
  const config = {
    main: "main.cjs", // it becomes part of the executable, where the directory of whoever builds has no place
    executable: node,
    output: path("flannel"),
    disableExperimentalSEAWarning: true,
    execArgv: NODE_FLAGS,
    execArgvExtension: "cli",
    assets,
  };
  writeFileSync(path("sea.json"), JSON.stringify(config));
  await step(`${arch.name}: one executable`, projectNode(), ["--build-sea", path("sea.json")], {
    cwd: directory,
  });
  // Last, since the step before takes no file that this one has changed.
  await step(`${arch.name}: its library path`, "patchelf", ["--set-rpath", LIBRARIES, path("flannel")]);
  slim(path("flannel"));
  chmodSync(path("flannel"), 0o755);
  return path("flannel");
}
