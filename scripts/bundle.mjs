// How a program becomes one file: esbuild with the plugins that make it start quickly. Plain JavaScript, so that any Node from 20 on can build.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { projectNode, root, StepFailed } from "./steps.mjs";

const IMPORT_META_URL = "const importMetaUrl = require('node:url').pathToFileURL(__filename).href;";

/** What stands around each bundle. All are CommonJS: it is loaded 10 ms sooner than modules. */
const SURROUNDINGS = {
  module: { banner: IMPORT_META_URL },
  /** For a program that is started for every pod, and does not ask where it is. */
  bare: { banner: "" },
  /** For `new Script`, which has nothing around it. */
  function: {
    banner: `(function (exports, require, module, __filename, __dirname) {${IMPORT_META_URL}`,
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
  "os",
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
 * What is not heavy needs nothing between: each import of node:fs would define a hundred properties anew, 10 ms in all.
 */
const lazyBuiltins = {
  name: "lazy-builtins",
  setup({ onResolve, onLoad }) {
    const names = exportsOfHeavy();
    const exported = (path) => names[path.slice("node:".length)];
    onResolve({ filter: /^node:/ }, ({ path, kind }) =>
      kind === "require-call" || exported(path) === undefined
        ? { path, external: true }
        : { path, namespace: "builtin" },
    );
    onLoad({ filter: /.*/, namespace: "builtin" }, ({ path }) => ({
      contents: `
        const get = (name) => require("${path}")[name];
        for (const name of ${JSON.stringify(exported(path))})
          Object.defineProperty(module.exports, name, { enumerable: true, get: () => get(name) });`,
    }));
  },
};

/** `flanneld.ts` runs what the build compiled of `flanneld-main.ts`. */
function compiledMain(program) {
  return {
    name: "compiled-main",
    setup({ onResolve }) {
      onResolve({ filter: /\/flanneld-main\.ts$/ }, ({ kind }) =>
        kind === "dynamic-import" ? { path: join(root, program) } : undefined,
      );
    },
  };
}

/**
 * What a cloud needs is a program of its own: it is several times the daemon, and few need it.
 * @param where how the daemon gets at `cloud-aws.cjs`, for esbuild
 */
function clouds(where) {
  return {
    name: "clouds",
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^\.\/\w+\/open\.ts$/ }, ({ path, kind }) =>
        kind === "dynamic-import" ? where(`cloud-${path.split("/")[1]}.cjs`) : undefined,
      );
      onLoad({ filter: /.*/, namespace: "embedded" }, ({ path }) => ({
        contents: `module.exports = require("./scripts/release/embedded-program.cjs").run("${path}");`,
        resolveDir: root,
      }));
    },
  };
}

const CLIENT_NODE = join(root, "node_modules/@kubernetes/client-node/dist");

/**
 * A library that only `--kubeconfig-file` needs, in a file that only it loads; and of the library its kubeconfig alone, without the
 * classes for every kind of object of Kubernetes: loading those takes 50 MiB and most of a second, bundling them a minute.
 * @param where as for the clouds
 */
function kubeconfigLibrary(where) {
  const name = "kubeconfig-library.cjs";
  return {
    name: "kubeconfig-library",
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /\/kubeconfig-library\.ts$/ }, ({ kind }) => {
        if (kind !== "dynamic-import") return undefined;
        const place = where(name);
        // An import() in a program that was compiled before is an experiment of Node's, with a warning.
        return place.external ? { path: "beside", namespace: "client-node" } : place;
      });
      onResolve({ filter: /^\.\/kubeconfig-library\.cjs$/ }, ({ path }) => ({ path, external: true }));
      onResolve({ filter: /^@kubernetes\/client-node$/ }, () => ({ path: join(CLIENT_NODE, "config.js") }));
      onResolve({ filter: /^\.\/gen\/index\.js$/ }, ({ importer }) =>
        importer === join(CLIENT_NODE, "config.js") ? { path: "gen", namespace: "client-node" } : undefined,
      );
      // It would send requests by undici; we ask it only how they are to be sent.
      onResolve({ filter: /^undici$/ }, ({ importer }) =>
        importer.startsWith(CLIENT_NODE) ? { path: "undici", namespace: "client-node" } : undefined,
      );
      const contents = {
        beside: `module.exports = require("./${name}");`,
        gen: 'export { createConfiguration } from "./configuration.js"; export { ServerConfiguration } from "./servers.js";',
        undici: "export const Agent = undefined, ProxyAgent = undefined, fetch = undefined;",
      };
      onLoad({ filter: /.*/, namespace: "client-node" }, ({ path }) => ({
        contents: contents[path],
        resolveDir: join(CLIENT_NODE, "gen"),
      }));
    },
  };
}

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

/** koffi's machine code, without the 20 ms that its own search for it takes. @param path an expression that gives its file */
function directKoffi(path) {
  return {
    name: "direct-koffi",
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^koffi$/ }, () => ({ path: "koffi", namespace: "native" }));
      onLoad({ filter: /.*/, namespace: "native" }, () => ({
        contents: `
        import { fileURLToPath } from "node:url";
        const module = { exports: {} };
        process.dlopen(module, ${path});
        export default module.exports;`,
        resolveDir: root,
      }));
    },
  };
}

/** Where the parts of a program lie: beside it, as files, or inside of the one executable of a release. */
const LAYOUTS = {
  files: {
    program: "scripts/compiled-program.cjs",
    cloud: (name) => ({ path: `./${name}`, external: true }),
    koffi: 'fileURLToPath(import.meta.url).replace(/\\/[^/]*$/, "/koffi.node")',
  },
  executable: {
    program: "scripts/release/embedded-main.cjs",
    cloud: (name) => ({ path: name, namespace: "embedded" }),
    koffi: 'require("./scripts/release/embedded-library.cjs").path()',
  },
};

/**
 * One file each, with what only some modes need evaluated lazily: every further file costs a millisecond or two at start, and a
 * daemon that runs while its files are replaced by newer ones misses nothing.
 * @param {{ source: string, outfile: string, as?: keyof typeof SURROUNDINGS, layout?: keyof typeof LAYOUTS, define?: Record<string, string> }} program
 *   `as: "function"`: an expression instead of a module
 */
export async function bundle({ source, outfile, as = "module", layout = "files", define = {} }) {
  if (!existsSync(join(root, "node_modules/esbuild"))) throw new StepFailed("esbuild is not installed; run: npm ci");
  const { build } = await import("esbuild");
  const { banner, footer = "" } = SURROUNDINGS[as];
  const { program, cloud, koffi } = LAYOUTS[layout];
  return await build({
    entryPoints: [source],
    outfile,
    bundle: true,
    format: "cjs",
    platform: "node",
    target: "node24",
    minifySyntax: true,
    minifyWhitespace: true,
    sourcemap: layout === "files",
    sourcesContent: false,
    legalComments: "none",
    metafile: true,
    mainFields: ["module", "main"],
    // What is run by node:vm may `require` what else there is; to `import()` it draws a warning of Node's.
    supported: { "dynamic-import": false },
    plugins: [
      compiledMain(program),
      clouds(cloud),
      kubeconfigLibrary(cloud),
      unusedShapes,
      lazyBuiltins,
      directKoffi(koffi),
    ],
    define: { "import.meta.url": "importMetaUrl", "import.meta.dirname": "__dirname", ...define },
    banner: { js: banner },
    footer: { js: footer },
    absWorkingDir: root,
    logLevel: "warning",
    write: false,
  });
}

/**
 * What V8 makes of every function of the program, by the Node that will run it; it takes no other's. Functions are compiled at their
 * first call otherwise, two thousand of them until READY. The same program gives the same bytes.
 * @param node the command that starts this Node
 */
export function compile(source, filename, node = [projectNode()]) {
  const code = `
    const { setFlagsFromString } = require("node:v8");
    const { Script } = require("node:vm");
    const source = require("node:fs").readFileSync(0, "latin1");
    setFlagsFromString("--no-lazy");
    const script = new Script(source, { filename: ${JSON.stringify(filename)} });
    setFlagsFromString("--lazy"); // flags are part of what is compared
    setFlagsFromString("--hash-seed=0");
    process.stdout.write(script.createCachedData());`;
  const [command, ...args] = node;
  return execFileSync(command, [...args, "--hash-seed=1", "-e", code], { input: source, maxBuffer: 1 << 30 });
}

/** The program with a mark at its end, and the same mark before what was compiled from it. */
export function withCompiled(source, filename) {
  const mark = createHash("sha256").update(source).digest("hex").slice(0, 16);
  const marked = `${source}// ${mark}`;
  return { marked, compiled: Buffer.concat([Buffer.from(mark), compile(marked, filename)]) };
}
