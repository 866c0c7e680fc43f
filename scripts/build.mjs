// Bundles the programs into dist/. Plain JavaScript, so that any Node from 20 on can build.
import {
  chmodSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { bundle, withCompiled } from "./bundle.mjs";
import { commit, commitDefinition, manifestVersion, versionFile } from "./release/version.mjs";
import { main, root } from "./steps.mjs";

const dist = join(root, "dist");

/** Source of each program and worker thread, by its file in dist/. Those whose source is not there yet are left out. */
const ENTRIES = {
  "flanneld.cjs": "src/cli/flanneld.ts",
  "flanneld-main.cjs": "src/cli/flanneld-main.ts",
  "cloud-aws.cjs": "src/cloud/aws/open.ts",
  "cloud-gce.cjs": "src/cloud/gce/open.ts",
  "kubeconfig-library.cjs": "src/store/kube/kubeconfig-library.ts",
  "flannel.cjs": "src/cli/flannel.ts",
  "packet-thread.cjs": "src/backend/udp/packet-thread.ts",
  "flannel-cni.cjs": "src/cni/flannel-cni.ts",
};

/** What is for hosts as it is, by its file in dist/; whether it can be run is kept. */
const COPIES = {
  "mk-docker-opts.sh": "packaging/mk-docker-opts.sh",
  "install-cni.sh": "packaging/kubernetes/install-cni.sh",
};

/** Folders that go to dist/ as they are. */
const FOLDERS = { systemd: "packaging/systemd", "flannel-chart": "packaging/kubernetes/chart" };

/** The chart as one manifest. */
const MANIFEST = "kube-flannel.yml";

/** For the launcher. */
const VERSION = "version";

/** Run by scripts/compiled-program.cjs. */
const MAIN = "flanneld-main.cjs";

/** Those around which something else stands than their ending says; see bundle.mjs. */
const KINDS = { [MAIN]: "function", "flannel-cni.cjs": "bare" };

/** Newest modification below the paths, 0 if there is none. */
export function newest(...paths) {
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
  const made = [
    "src",
    "packaging",
    "scripts/build.mjs",
    "scripts/bundle.mjs",
    "scripts/render-chart.mjs",
    "scripts/compiled-program.cjs",
    "package-lock.json",
  ];
  const sources = newest(...made.map((path) => join(root, path)));
  return [...Object.keys(entries()), ...Object.keys(COPIES), ...Object.keys(FOLDERS), MANIFEST, VERSION].every(
    (file) => {
      const stat = statSync(join(dist, file), { throwIfNoEntry: false });
      return stat !== undefined && stat.mtimeMs >= sources;
    },
  );
}

/** Sources that are there, by the file in dist/. */
export function entries() {
  return Object.fromEntries(
    Object.entries(ENTRIES)
      .map(([file, source]) => [file, join(root, source)])
      .filter(([, source]) => statSync(source, { throwIfNoEntry: false }) !== undefined),
  );
}

/** koffi's machine code for this platform, beside what it is called by; without the 20 ms that its own search for it takes. */
const NATIVE = join(root, `node_modules/@koromix/koffi-linux-${process.arch}/linux_${process.arch}/koffi.node`);

/** At once, and under a new inode: a daemon may start meanwhile, or run and have the old file in its memory. */
function replace(path, contents, mode = 0o644) {
  writeFileSync(`${path}.new`, contents);
  chmodSync(`${path}.new`, mode);
  renameSync(`${path}.new`, path);
}

export async function build() {
  const define = commitDefinition();
  const bundles = Object.entries(entries()).map(([file, source]) =>
    bundle({ source, outfile: join(dist, file), define, as: KINDS[file] }),
  );
  const files = (await Promise.all(bundles)).flatMap(({ outputFiles }) => outputFiles);
  mkdirSync(dist, { recursive: true });
  for (const [folder, source] of Object.entries(FOLDERS)) {
    rmSync(join(dist, folder), { recursive: true, force: true });
    cpSync(join(root, source), join(dist, folder), { recursive: true });
  }
  const { renderChart } = await import("./render-chart.mjs");
  replace(join(dist, MANIFEST), renderChart(join(root, FOLDERS["flannel-chart"])));
  replace(join(dist, VERSION), versionFile({ version: manifestVersion(), commit: commit() ?? "" }));
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
    const { marked, compiled } = withCompiled(text, path);
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
