// Bundles the programs into dist/. Plain JavaScript, so that any Node from 20 on can build.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, extname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { main, projectNode, root, StepFailed } from "./steps.mjs";

const dist = join(root, "dist");

/** Source of each program and worker thread, by its file in dist/. Those whose source is not there yet are left out. */
const ENTRIES = {
  "flanneld.cjs": "src/cli/flanneld.ts",
  "flanneld-main.cjs": "src/cli/flanneld-main.ts",
  "cloud-aws.cjs": "src/cloud/aws/open.ts",
  "flannel.js": "src/cli/flannel.ts",
  "packet-thread.js": "src/backend/udp/packet-thread.ts",
  "flannel-cni.cjs": "src/cni/flannel-cni.ts",
};

/** What is for hosts as it is, by its file in dist/; whether it can be run is kept. */
const COPIES = {
  "mk-docker-opts.sh": "packaging/mk-docker-opts.sh",
};

/** Run by scripts/compiled-program.cjs. */
const MAIN = "flanneld-main.cjs";

/** What stands around each bundle. */
const FORMATS = {
  // A `require` of our own: CommonJS libraries call it, and see `lazyBuiltins`.
  ".js": {
    format: "esm",
    banner: "const require = process.getBuiltinModule('module').createRequire(import.meta.filename);",
  },
  // CommonJS is loaded 10 ms sooner.
  ".cjs": { format: "cjs", banner: "const importMetaUrl = require('node:url').pathToFileURL(__filename).href;" },
  [MAIN]: {
    format: "cjs",
    banner:
      "(function (exports, require, module, __filename, __dirname) {" +
      "const importMetaUrl = require('node:url').pathToFileURL(__filename).href;",
    footer: "})",
  },
};

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
  const made = ["src", "packaging", "scripts/build.mjs", "scripts/compiled-program.cjs", "package-lock.json"];
  const sources = newest(...made.map((path) => join(root, path)));
  return [...Object.keys(entries()), ...Object.keys(COPIES)].every((file) => {
    const stat = statSync(join(dist, file), { throwIfNoEntry: false });
    return stat !== undefined && stat.mtimeMs >= sources;
  });
}

function entries() {
  return Object.fromEntries(
    Object.entries(ENTRIES)
      .map(([file, source]) => [file, join(root, source)])
      .filter(([, source]) => statSync(source, { throwIfNoEntry: false }) !== undefined),
  );
}

const compiledMain = {
  name: "compiled-main",
  setup({ onResolve }) {
    onResolve({ filter: /\/flanneld-main\.ts$/ }, ({ kind }) =>
      kind === "dynamic-import" ? { path: join(root, "scripts/compiled-program.cjs") } : undefined,
    );
  },
};

/** What a cloud needs is a file of its own: it is several times the daemon, and few need it. */
const clouds = {
  name: "clouds",
  setup({ onResolve }) {
    onResolve({ filter: /^\.\/(aws|gce)\/open\.ts$/ }, ({ path, kind }) =>
      kind === "dynamic-import" ? { path: `./cloud-${path.split("/")[1]}.cjs`, external: true } : undefined,
    );
  },
};

/**
 * The shapes of all that EC2 knows, 4000 of which a dozen are used. That the others have no effect is plain to see and not to esbuild,
 * which drops them once it is told: 20 MiB on import then, not 45.
 */
const unusedShapes = {
  name: "unused-shapes",
  setup({ onLoad }) {
    onLoad({ filter: /\/client-ec2\/dist-es\/schemas\/schemas_0\.js$/ }, ({ path }) => ({
      contents: readFileSync(path, "utf8").replace(
        /^((?:export )?(?:var|const) [\w$]+ = )(\[[^;]*\]);$/gm,
        "$1/* @__PURE__ */ (() => $2)();",
      ),
    }));
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
function replace(path, contents, mode = 0o644) {
  writeFileSync(`${path}.new`, contents);
  chmodSync(`${path}.new`, mode);
  renameSync(`${path}.new`, path);
}

/**
 * What V8 makes of every function of the program, by the Node that will run it; it takes no other's. Functions are compiled at their
 * first call otherwise, two thousand of them until READY.
 */
function compile(source) {
  const code = `
    const { setFlagsFromString } = require("node:v8");
    const { Script } = require("node:vm");
    const source = require("node:fs").readFileSync(0, "latin1");
    setFlagsFromString("--no-lazy");
    const script = new Script(source, { filename: ${JSON.stringify(join(dist, MAIN))} });
    setFlagsFromString("--lazy"); // flags are part of what is compared
    process.stdout.write(script.createCachedData());`;
  return execFileSync(projectNode(), ["-e", code], { input: source, maxBuffer: 1 << 30 });
}

/** The program with a mark at its end, and the same mark before what was compiled from it. */
function withCompiled(source) {
  const mark = createHash("sha256").update(source).digest("hex").slice(0, 16);
  const marked = `${source}// ${mark}`;
  return { marked, compiled: Buffer.concat([Buffer.from(mark), compile(marked)]) };
}

export async function build() {
  if (!existsSync(join(root, "node_modules/esbuild"))) throw new StepFailed("esbuild is not installed; run: npm ci");
  const { build: bundle } = await import("esbuild");
  // One file each, with what only some modes need evaluated lazily: every further file costs a millisecond or two at start, and a
  // daemon that runs while its files are replaced by newer ones misses nothing.
  const builds = Object.entries(entries()).map(([file, source]) => {
    const { format, banner, footer = "" } = FORMATS[file] ?? FORMATS[extname(file)];
    return bundle({
      entryPoints: [source],
      outfile: join(dist, file),
      bundle: true,
      format,
      platform: "node",
      target: "node24",
      minifySyntax: true,
      minifyWhitespace: true,
      sourcemap: true,
      sourcesContent: false,
      legalComments: "none",
      mainFields: ["module", "main"],
      plugins: [compiledMain, clouds, unusedShapes, lazyBuiltins, directKoffi],
      ...(format === "cjs" && { define: { "import.meta.url": "importMetaUrl" } }),
      banner: { js: banner },
      footer: { js: footer },
      absWorkingDir: root,
      logLevel: "warning",
      write: false,
    });
  });
  const files = (await Promise.all(builds)).flatMap(({ outputFiles }) => outputFiles);
  mkdirSync(dist, { recursive: true });
  replace(join(dist, "koffi.node"), readFileSync(NATIVE));
  for (const [file, source] of Object.entries(COPIES)) {
    const path = join(root, source);
    replace(join(dist, file), readFileSync(path), (statSync(path).mode & 0o111) === 0 ? 0o644 : 0o755);
  }
  for (const { path, contents, text } of files) {
    if (basename(path) !== MAIN) {
      replace(path, contents);
      continue;
    }
    const { marked, compiled } = withCompiled(text);
    replace(join(dist, "flanneld-main.compiled"), compiled);
    replace(path, marked);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    const start = performance.now();
    await build();
    console.log(`built ${relative(process.cwd(), dist) || "dist"} in ${Math.round(performance.now() - start)} ms`);
    return 0;
  });
}
