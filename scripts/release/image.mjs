// The image: an empty base, the tree of a release under /usr, and of Debian's what that runs. Written file by file as the OCI image
// format has it (https://github.com/opencontainers/image-spec, image-layout.md), with the one file more that `docker load` reads.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { step } from "../steps.mjs";
import { tarball, tarFlags } from "./archive.mjs";
import { FILE_LIST } from "./debian-parts.mjs";
import { debianLicences } from "./licences.mjs";
import { DOC } from "./tree.mjs";

/**
 * Programs from Debian, by who calls them: the launcher and the process that keeps descriptors (sh, sleep, env, readlink, setpriv), the
 * firewall (nft, iptables), manifests that use flannel's image to put a CNI config in place (cp).
 */
const PROGRAMS = [
  "bin/dash",
  "bin/cp",
  "bin/readlink",
  "bin/sleep",
  "usr/bin/env",
  "usr/bin/setpriv",
  "usr/sbin/nft",
  "usr/sbin/xtables-legacy-multi",
  "usr/sbin/xtables-nft-multi",
];

const XTABLES = ["iptables", "iptables-restore", "iptables-save", "ip6tables", "ip6tables-restore", "ip6tables-save"];

/** Symbolic links, with their targets: /bin is /usr/bin, as in Debian; and where 0.7.0's manifests look. */
const LINKS = {
  bin: "usr/bin",
  sbin: "usr/sbin",
  lib: "usr/lib",
  "usr/bin/sh": "dash",
  "var/run": "../run",
  "opt/bin/flanneld": "../../usr/bin/flanneld",
  ...Object.fromEntries(XTABLES.map((name) => [`usr/sbin/${name}`, "xtables-nft-multi"])),
  ...Object.fromEntries(
    XTABLES.map((name) => [`usr/sbin/${name.replace("tables", "tables-legacy")}`, "xtables-legacy-multi"]),
  ),
  ...Object.fromEntries(
    XTABLES.map((name) => [`usr/sbin/${name.replace("tables", "tables-nft")}`, "xtables-nft-multi"]),
  ),
};

const FILES = {
  "etc/passwd": "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
  "etc/group": "root:x:0:\nnogroup:x:65534:\n",
  "etc/nsswitch.conf": "hosts: files dns\n",
};

/** Mode of each. */
const DIRECTORIES = {
  tmp: 0o1777,
  run: 0o755,
  "run/flannel": 0o755,
  "var/lib/flannel": 0o700,
  proc: 0o555,
  sys: 0o555,
  dev: 0o755,
};

/** Names of the libraries that a program or library asks for, and of its loader. */
function needs(file) {
  const text = execFileSync("readelf", ["-W", "-d", "-l", file], {
    encoding: "latin1",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const libraries = [...text.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, name]) => name);
  const loader = /program interpreter: (.*)\]/.exec(text)?.[1];
  return loader === undefined ? libraries : [...libraries, basename(loader)];
}

/**
 * Makes the image's file system.
 * @param {{ arch: object, debian: string, tree: string, node: string }} parts `node` asks for what the executable made of it asks for
 * @returns names of the Debian packages of which something is in it
 */
export function imageRoot({ arch, debian, tree, node }, directory) {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  cpSync(tree, join(directory, "usr"), { recursive: true, verbatimSymlinks: true });
  const owner = owners(debian);
  const used = new Set();
  const put = (from, to, mode) => {
    const source = realpathSync(join(debian, from));
    used.add(owner(source.slice(realpathSync(debian).length + 1)));
    mkdirSync(dirname(join(directory, to)), { recursive: true });
    copyFileSync(source, join(directory, to));
    chmodSync(join(directory, to), mode);
  };
  const libraries = `usr/lib/${arch.gnu}`;
  const wanted = [node];
  for (const program of PROGRAMS) {
    const to = program.replace(/^bin\//, "usr/bin/");
    put(program, to, 0o755);
    wanted.push(join(directory, to));
  }
  for (const extension of readdirSync(join(debian, libraries, "xtables"))) {
    put(join(libraries, "xtables", extension), join(libraries, "xtables", extension), 0o644);
    wanted.push(join(directory, libraries, "xtables", extension));
  }
  for (const file of wanted) {
    for (const name of needs(file)) {
      const to = join(libraries, name);
      if (name === "libatomic.so.1" || existsSync(join(directory, to))) continue; // the one is part of the tree
      const from = [libraries, `lib/${arch.gnu}`]
        .map((path) => join(path, name))
        .find((path) => existsSync(join(debian, path)));
      if (from === undefined) throw new Error(`${file} needs ${name}, which none of Debian's packages here has`);
      put(from, to, name.startsWith("ld-") ? 0o755 : 0o644);
      wanted.push(join(directory, to));
    }
  }
  const loader = readdirSync(join(directory, libraries)).find((name) => name.startsWith("ld-linux"));
  const loaderLink = arch.name === "amd64" ? { "usr/lib64": "lib", lib64: "usr/lib" } : {};
  const links = { ...LINKS, ...loaderLink, [`usr/lib/${loader}`]: `${arch.gnu}/${loader}` };
  for (const [path, mode] of Object.entries(DIRECTORIES)) {
    mkdirSync(join(directory, path), { recursive: true });
    chmodSync(join(directory, path), mode);
  }
  for (const [path, target] of Object.entries(links)) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    symlinkSync(target, join(directory, path));
  }
  const write = (path, contents) => {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), contents);
  };
  for (const [path, contents] of Object.entries(FILES)) write(path, contents);
  const packages = [...used].map(String).toSorted();
  for (const [name, text] of debianLicences(debian, packages)) write(`usr/${DOC}/licences/${name}`, text);
  return packages;
}

/** The package that brings a file, by its path without a leading slash. */
function owners(debian) {
  const lines = readFileSync(join(debian, FILE_LIST), "utf8").trim().split("\n");
  const byPath = new Map(lines.map((line) => [line.slice(line.indexOf(" ") + 1), line.slice(0, line.indexOf(" "))]));
  return (path) => byPath.get(path) ?? path;
}

const digest = (contents) => createHash("sha256").update(contents).digest("hex");

/** Packs the file system as an image, for `docker load` and everything that reads OCI layouts. */
export async function packImage({ arch, build, directory, work }, file) {
  rmSync(work, { recursive: true, force: true });
  const blobs = join(work, "blobs/sha256");
  mkdirSync(blobs, { recursive: true });
  const add = (contents) => {
    const hex = digest(contents);
    writeFileSync(join(blobs, hex), contents);
    return { digest: `sha256:${hex}`, size: contents.length };
  };
  const packed = join(work, "layer");
  await tarball({ directory, entries: ["."], time: build.time }, packed);
  const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", ...add(readFileSync(packed)) };
  const created = new Date(build.time * 1000).toISOString();
  const labels = {
    "org.opencontainers.image.title": "flannel",
    "org.opencontainers.image.version": build.version,
    "org.opencontainers.image.revision": build.commit,
    "org.opencontainers.image.licenses": "Apache-2.0",
  };
  const image = {
    created,
    architecture: arch.name,
    os: "linux",
    config: {
      Entrypoint: ["/usr/bin/flanneld"],
      Env: ["PATH=/usr/sbin:/usr/bin"],
      WorkingDir: "/",
      Labels: labels,
    },
    rootfs: { type: "layers", diff_ids: [`sha256:${digest(gunzipSync(readFileSync(packed)))}`] },
    history: [{ created, comment: "npm run dist" }],
  };
  rmSync(packed);
  const json = (value) => add(Buffer.from(JSON.stringify(value)));
  const config = { mediaType: "application/vnd.oci.image.config.v1+json", ...json(image) };
  const type = "application/vnd.oci.image.manifest.v1+json";
  const manifest = json({ schemaVersion: 2, mediaType: type, config, layers: [layer], annotations: labels });
  const name = `flannel:${build.version}-${arch.name}`;
  const write = (path, value) => writeFileSync(join(work, path), JSON.stringify(value));
  write("oci-layout", { imageLayoutVersion: "1.0.0" });
  write("index.json", {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: [
      {
        mediaType: type,
        ...manifest,
        platform: { architecture: arch.name, os: "linux" },
        annotations: {
          "io.containerd.image.name": `docker.io/library/${name}`,
          "org.opencontainers.image.ref.name": name,
        },
      },
    ],
  });
  const blob = ({ digest: id }) => `blobs/${id.replace(":", "/")}`;
  write("manifest.json", [{ Config: blob(config), RepoTags: [name], Layers: [blob(layer)] }]); // Docker before 25
  await step(`packing ${basename(file)}`, "tar", [
    ...tarFlags(build.time),
    "--mode=u=rwX,go=rX",
    "-C",
    work,
    "-cf",
    file,
    ...readdirSync(work).toSorted(),
  ]);
}
