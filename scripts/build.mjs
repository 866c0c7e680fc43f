// Bundles the programs into dist/. Plain JavaScript, so that any Node from 20 on can build.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { main, projectNode, root, StepFailed } from "./steps.mjs";

const dist = join(root, "dist");

/** Source of each program and worker thread, by its name in dist/. Those whose source is not there yet are left out. */
const ENTRIES = {
  flanneld: "src/cli/flanneld.ts",
  "flanneld-main": "src/cli/flanneld-main.ts",
  flannel: "src/cli/flannel.ts",
  "packet-thread": "src/backend/udp/packet-thread.ts",
};

/** A `require` of our own for every chunk: CommonJS libraries call it, and see `lazyBuiltins`. */
const REQUIRE = "const require = process.getBuiltinModule('module').createRequire(import.meta.filename);";

/** Modules of Node's that take milliseconds to load, and that a program may import without using. */
const HEAVY = [
  "child_process",
  "crypto",
  "dns",
  "http",
  "http2",
  "https",
  "net",
  "readline",
  "sqlite",
  "tls",
  "worker_threads",
  "zlib",
];

/** What each exports in the Node that will run the programs. */
function exportsOfHeavy() {
  const list =
    "JSON.stringify(Object.fromEntries(process.argv.slice(1).map((m) => [m, Object.keys(require('node:' + m))])))";
  return JSON.parse(execFileSync(projectNode(), ["--no-warnings", "-p", list, ...HEAVY], { encoding: "utf8" }));
}

/**
 * Makes `import { createServer } from "node:http"` a `require`, of heavy modules at the first use. Importing a module of Node's reads
 * every property it exports, and some load half of Node when read: node:http takes 60 ms and 18 MiB so, 7 ms and 3 MiB when required.
 */
const lazyBuiltins = {
  name: "lazy-builtins",
  setup({ onResolve, onLoad }) {
    const names = exportsOfHeavy();
    onResolve({ filter: /^node:/ }, ({ path, kind }) =>
      kind === "require-call" ? { path, external: true } : { path, namespace: "builtin" },
    );
    onLoad({ filter: /.*/, namespace: "builtin" }, ({ path }) => {
      const heavy = names[path.slice("node:".length)];
      if (heavy === undefined) return { contents: `module.exports = require("${path}");` };
      return {
        contents: `
          const get = (name) => require("${path}")[name];
          for (const name of ${JSON.stringify(heavy)})
            Object.defineProperty(module.exports, name, { enumerable: true, get: () => get(name) });`,
      };
    });
  },
};

/** Newest modification below the paths, 0 if there is none. */
function newest(...paths) {
  let time = 0;
  for (const path of paths) {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) continue;
    if (path.endsWith(".test.ts")) continue;
    if (!stat.isDirectory()) time = Math.max(time, stat.mtimeMs);
    else for (const name of readdirSync(path)) time = Math.max(time, newest(join(path, name)));
  }
  return time;
}

/** Whether dist/ is complete and newer than what it is made of. */
export function isBuilt() {
  const sources = newest(join(root, "src"), join(root, "scripts/build.mjs"), join(root, "package-lock.json"));
  return Object.keys(entries()).every((name) => {
    const stat = statSync(join(dist, `${name}.js`), { throwIfNoEntry: false });
    return stat !== undefined && stat.mtimeMs >= sources;
  });
}

function entries() {
  return Object.fromEntries(
    Object.entries(ENTRIES)
      .map(([name, source]) => [name, join(root, source)])
      .filter(([, source]) => statSync(source, { throwIfNoEntry: false }) !== undefined),
  );
}

/** The entry of a program turns the code cache on, which helps only files that are read after that. */
const cachedMain = {
  name: "cached-main",
  setup({ onResolve }) {
    onResolve({ filter: /\/flanneld-main\.ts$/ }, ({ kind }) =>
      kind === "dynamic-import" ? { path: "./flanneld-main.js", external: true } : undefined,
    );
  },
};

/** koffi's machine code for this platform, beside what it is called by; without the 20 ms that its own search for it takes. */
const NATIVE = join(root, `node_modules/@koromix/koffi-linux-${process.arch}/linux_${process.arch}/koffi.node`);

const directKoffi = {
  name: "direct-koffi",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^koffi$/ }, () => ({ path: "koffi", namespace: "native" }));
    onLoad({ filter: /.*/, namespace: "native" }, () => ({
      contents: `
        import { fileURLToPath } from "node:url";
        const module = { exports: {} };
        process.dlopen(module, fileURLToPath(import.meta.url).replace(/\\/[^/]*$/, "/koffi.node"));
        export default module.exports;`,
    }));
  },
};

/** At once, and under a new inode: a daemon may start meanwhile, or run and have the old file in its memory. */
function replace(path, contents) {
  writeFileSync(`${path}.new`, contents);
  renameSync(`${path}.new`, path);
}

/** A flanneld that waits in vain for a config, and ends: what it compiled is kept in dist/cache. Touches nothing; may fail. */
async function fillCodeCache() {
  rmSync(join(dist, "cache"), { recursive: true, force: true });
  const directory = mkdtempSync(join(tmpdir(), "flannel-build-"));
  const file = (name) => join(directory, name);
  const args = [
    `--embedded-store=${file("db")}`,
    `--subnet-file=${file("env")}`,
    `--state-dir=${file("state")}`,
    "--iface=lo",
  ];
  const daemon = spawn(join(root, "bin/flanneld"), args, { stdio: ["ignore", "ignore", "pipe"] });
  const giveUp = setTimeout(() => daemon.kill("SIGKILL"), 10_000);
  let lines = 0;
  daemon.stderr.on("data", (text) => {
    lines += String(text).split("\n").length - 1;
    if (lines > 1) daemon.kill("SIGTERM"); // one about the interface, one about the config
  });
  await once(daemon, "close");
  clearTimeout(giveUp);
  rmSync(directory, { recursive: true, force: true });
}

export async function build() {
  if (!existsSync(join(root, "node_modules/esbuild"))) throw new StepFailed("esbuild is not installed; run: npm ci");
  const { build: bundle } = await import("esbuild");
  // One file each, with what only some modes need evaluated lazily: every further file costs a millisecond or two at start, and a
  // daemon that runs while its files are replaced by newer ones misses nothing.
  const builds = Object.entries(entries()).map(([name, source]) =>
    bundle({
      entryPoints: { [name]: source },
      outdir: dist,
      bundle: true,
      format: "esm",
      platform: "node",
      target: "node24",
      minifySyntax: true,
      minifyWhitespace: true,
      sourcemap: true,
      sourcesContent: false,
      legalComments: "none",
      plugins: [cachedMain, lazyBuiltins, directKoffi],
      banner: { js: REQUIRE },
      absWorkingDir: root,
      logLevel: "warning",
      write: false,
    }),
  );
  const files = (await Promise.all(builds)).flatMap(({ outputFiles }) => outputFiles);
  mkdirSync(dist, { recursive: true });
  replace(join(dist, "koffi.node"), readFileSync(NATIVE));
  for (const { path, contents } of files) replace(path, contents);
  await fillCodeCache();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    const start = performance.now();
    await build();
    console.log(`built ${relative(process.cwd(), dist) || "dist"} in ${Math.round(performance.now() - start)} ms`);
    return 0;
  });
}
