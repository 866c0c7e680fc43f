// npm run dist: everything that a release consists of, for each architecture, in dist/release.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { prepare } from "./prepare.mjs";
import { sha256, size, tarball } from "./release/archive.mjs";
import { debianParts, debianVersions } from "./release/debian-parts.mjs";
import { makeExecutable, programs } from "./release/executable.mjs";
import { ARCHITECTURES } from "./release/parts.mjs";
import { makeSbom } from "./release/sbom.mjs";
import { makeTree } from "./release/tree.mjs";
import { describeBuild } from "./release/version.mjs";
import { main, root } from "./steps.mjs";

const work = join(root, "dist/work");
export const released = join(root, "dist/release");

/** @returns the files, in order */
export async function dist({ build = describeBuild(), architectures = ARCHITECTURES, fresh = false } = {}) {
  await prepare("dist");
  const program = await programs(build);
  rmSync(released, { recursive: true, force: true });
  mkdirSync(released, { recursive: true });
  const files = [];
  for (const arch of architectures) {
    const debian = await debianParts(arch, { fresh });
    const executable = await makeExecutable(arch, program, join(work, arch.name));
    const libraries = [...debianVersions(debian)].filter(([name]) => name === "libatomic1");
    const { packages } = program;
    const sbom = makeSbom({ build, arch, packages, debian: libraries, kind: "tarball" });
    const parts = { arch, executable, debian, packages, sbom };
    files.push(...(await makeArchives({ build, parts, tree: join(work, arch.name, "tree") })));
  }
  const sums = await Promise.all(files.map(async (file) => `${await sha256(file)}  ${basename(file)}\n`));
  writeFileSync(join(released, "SHA256SUMS"), sums.join(""));
  return [...files, join(released, "SHA256SUMS")];
}

/** What is made of one tree. @returns the files */
export async function makeArchives({ build, parts, tree }, directory = released) {
  makeTree(parts, tree);
  const name = `flannel-${build.version}-linux-${parts.arch.name}`;
  const file = (extension) => join(directory, `${name}${extension}`);
  await tarball({ directory: tree, entries: ["."], time: build.time, prefix: name }, file(".tar.gz"));
  writeFileSync(file(".cdx.json"), parts.sbom);
  return [file(".tar.gz"), file(".cdx.json")];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    const { values } = parseArgs({ options: { fresh: { type: "boolean" }, arch: { type: "string" } } });
    const architectures = ARCHITECTURES.filter(({ name }) => values.arch === undefined || name === values.arch);
    for (const file of await dist({ architectures, fresh: values.fresh })) console.log(`${size(file)}\t${file}`);
    return 0;
  });
}
