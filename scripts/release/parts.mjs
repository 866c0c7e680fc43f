// The parts of a release that are made elsewhere, of either architecture: npm packages, checked against package-lock.json.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { root, StepFailed, step } from "../steps.mjs";

/** What is fetched is kept here. */
export const cache = join(root, "dist/cache");

/** Architectures as Debian, Node and GNU call them, and how a program of each is run here. */
export const ARCHITECTURES = ["amd64", "arm64"].map((name) => {
  const node = name === "amd64" ? "x64" : "arm64";
  const gnu = name === "amd64" ? "x86_64-linux-gnu" : "aarch64-linux-gnu";
  const native = node === process.arch;
  const sysroot = `/usr/${gnu}`;
  return {
    name,
    node,
    gnu,
    native,
    /** Binutils that know its files. */
    strip: native ? "strip" : `${gnu}-strip`,
    emulator: native ? [] : [`qemu-${gnu.split("-")[0]}-static`, "-L", sysroot],
  };
});

/** Debian packages that `npm run dist` needs, by a program of each. */
export function distPrograms() {
  const foreign = ARCHITECTURES.find(({ native }) => !native);
  const packageName = foreign.gnu.replace("_", "-");
  return {
    strip: "binutils",
    patchelf: "patchelf",
    mmdebstrap: "mmdebstrap",
    [foreign.strip]: `binutils-${packageName}`,
    [foreign.emulator[0]]: "qemu-user-static",
  };
}

/** Libraries of the other architecture, for the emulator. */
export function emulatorPackages() {
  const foreign = ARCHITECTURES.find(({ native }) => !native);
  if (existsSync(join("/usr", foreign.gnu, "lib/libatomic.so.1"))) return [];
  return ["libc6", "libstdc++6", "libgcc-s1", "libatomic1"].map((name) => `${name}-${foreign.name}-cross`);
}

function locked(name) {
  const entry = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages[`node_modules/${name}`];
  if (entry === undefined) throw new StepFailed(`package-lock.json has no ${name}`);
  return entry;
}

/** The directory of an npm package, also of one that npm did not install because it is for another architecture. */
export async function npmPackage(name) {
  const installed = join(root, "node_modules", name);
  if (existsSync(installed)) return installed;
  const { version, integrity } = locked(name);
  const directory = join(cache, `${name.replaceAll("/", "-")}-${version}`);
  if (existsSync(directory)) return directory;
  const fresh = `${directory}.new`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  await step(`fetching ${name}`, "npm", ["pack", "--silent", "--pack-destination", fresh, `${name}@${version}`]);
  const archive = join(fresh, `${name.replace("@", "").replaceAll("/", "-")}-${version}.tgz`);
  const [algorithm, digest] = integrity.split(/-(.*)/);
  if (createHash(algorithm).update(readFileSync(archive)).digest("base64") !== digest) {
    throw new StepFailed(`${archive} is not what package-lock.json says: ${integrity}`);
  }
  await step(`unpacking ${name}`, "tar", ["-xzf", archive, "-C", fresh, "--strip-components=1"]);
  rmSync(archive);
  renameSync(fresh, directory);
  return directory;
}

/** The Node of this project for an architecture, as npm brings it. */
export async function nodeOf(arch) {
  return await npmPackage(`node-linux-${arch.node}`);
}

/** koffi's machine code for an architecture. */
export async function koffiOf(arch) {
  const directory = await npmPackage(`@koromix/koffi-linux-${arch.node}`);
  return join(directory, `linux_${arch.node}/koffi.node`);
}
