// npm run dist: everything that a release consists of, for each architecture, in dist/release.
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { newest } from "./build.mjs";
import { prepare } from "./prepare.mjs";
import { sha256, size, tarball } from "./release/archive.mjs";
import { debianPackage, debianVersion } from "./release/debian.mjs";
import { debianParts, debianVersions } from "./release/debian-parts.mjs";
import { makeExecutable, programs } from "./release/executable.mjs";
import { imageRoot, packImage } from "./release/image.mjs";
import { ARCHITECTURES } from "./release/parts.mjs";
import { makeSbom } from "./release/sbom.mjs";
import { makeTree } from "./release/tree.mjs";
import { describeBuild } from "./release/version.mjs";
import { main, root } from "./steps.mjs";

const work = join(root, "dist/work");
export const released = join(root, "dist/release");
/** What archives are made from beside the executables, for {@link repack}. */
const PARTS = join(work, "parts.json");
const SUMS = join(released, "SHA256SUMS");

/** What a release is made of. */
const SOURCES = [
  "src",
  "bin",
  "docs",
  "packaging",
  "scripts",
  "package.json",
  "package-lock.json",
  "README.md",
  "CHANGELOG.md",
];

/** Whether dist/release is complete and newer than what it is made of. */
export function isReleased() {
  const sums = statSync(SUMS, { throwIfNoEntry: false });
  return sums !== undefined && sums.mtimeMs >= newest(...SOURCES.map((path) => join(root, path)));
}

/** The files of dist/release, as its sums name them. */
export function releasedFiles() {
  const lines = readFileSync(SUMS, "utf8").trim().split("\n");
  return [...lines.map((line) => join(released, line.split("  ")[1])), SUMS];
}

/** @returns the files, in order */
export async function dist({ build = describeBuild(), architectures = ARCHITECTURES, fresh = false } = {}) {
  process.umask(0o022);
  await prepare("dist");
  const program = await programs(build);
  mkdirSync(work, { recursive: true });
  writeFileSync(PARTS, JSON.stringify({ build, packages: program.packages }));
  rmSync(released, { recursive: true, force: true });
  mkdirSync(released, { recursive: true });
  const made = await Promise.all(
    architectures.map(async (arch) => {
      const debian = await debianParts(arch, { fresh });
      const executable = await makeExecutable(arch, program, join(work, arch.name));
      return await makeArchives({ arch, build, debian, executable, packages: program.packages }, released);
    }),
  );
  const files = made.flat();
  const sums = await Promise.all(files.map(async (file) => `${await sha256(file)}  ${basename(file)}\n`));
  writeFileSync(`${SUMS}.new`, sums.join(""));
  renameSync(`${SUMS}.new`, SUMS);
  return releasedFiles();
}

/** Packs the executables of the last build again, into another directory. @param [version] another than theirs */
export async function repack(directory, { architectures = ARCHITECTURES, version } = {}) {
  process.umask(0o022);
  const { build, packages } = JSON.parse(readFileSync(PARTS, "utf8"));
  const made = architectures.map(async (arch) => {
    const parts = { arch, packages, debian: await debianParts(arch), executable: join(work, arch.name, "flannel") };
    return await makeArchives({ ...parts, build: { ...build, version: version ?? build.version } }, directory);
  });
  return (await Promise.all(made)).flat();
}

/**
 * Packs what is made: the same parts give the same bytes.
 * @param directory for the archives @returns the files
 */
export async function makeArchives({ arch, build, debian, executable, packages }, directory) {
  const name = `flannel-${build.version}-linux-${arch.name}`;
  const file = (extension) => join(directory, `${name}${extension}`);
  const place = (what) => join(work, arch.name, what);
  mkdirSync(directory, { recursive: true });
  const versions = debianVersions(debian);
  const sbom = (kind, names) =>
    makeSbom({ arch, build, packages, kind, debian: names.map((name) => [name, versions.get(name)]) });
  const parts = { arch, build, debian, packages, executable };

  const tree = place("tree");
  makeTree({ ...parts, sbom: sbom("host", ["libatomic1"]) }, tree);
  await tarball({ directory: tree, entries: ["."], time: build.time, prefix: name }, file(".tar.gz"));
  const deb = join(directory, `flannel_${debianVersion(build.version)}_${arch.name}.deb`);
  await debianPackage({ tree, arch, build, work: place("package") }, deb);

  const image = place("image");
  const inImage = imageRoot({ arch, debian, tree, node: place("node") }, image);
  const imageSbom = sbom("image", ["libatomic1", ...inImage]);
  writeFileSync(join(image, "usr/share/doc/flannel/sbom.cdx.json"), imageSbom);
  await packImage({ arch, build, directory: image, work: place("oci") }, file("-image.tar"));
  writeFileSync(file(".cdx.json"), sbom("host", ["libatomic1"]));
  writeFileSync(file("-image.cdx.json"), imageSbom);
  return [deb, ...[".tar.gz", "-image.tar", ".cdx.json", "-image.cdx.json"].map(file)];
}

const OPTIONS = {
  /** Asks Debian again for its parts. */
  fresh: { type: "boolean" },
  /** One architecture only. */
  arch: { type: "string" },
  /** Does nothing if dist/release is newer than the sources. */
  "if-stale": { type: "boolean" },
  /** Packs the last build again, into this directory. */
  repack: { type: "string" },
  /** As this version. */
  as: { type: "string" },
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    const { values } = parseArgs({ options: OPTIONS });
    if (values["if-stale"] && isReleased()) return 0;
    const architectures = ARCHITECTURES.filter(({ name }) => values.arch === undefined || name === values.arch);
    const files =
      values.repack === undefined
        ? await dist({ architectures, fresh: values.fresh })
        : await repack(values.repack, { architectures, version: values.as });
    for (const file of files) console.log(`${size(file)}\t${file}`);
    return 0;
  });
}
