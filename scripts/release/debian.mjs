// The Debian package: the tree of a release under /usr, with settings in /etc/flannel.
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { root, step } from "../steps.mjs";

const SOURCE = join(root, "packaging/debian");

/** By the versions of their symbols that Node asks for. */
const DEPENDS = "libc6 (>= 2.28), libgcc-s1 | libgcc1, libstdc++6 (>= 5.1)";

/** Debian sorts `~` before everything, and `-` begins a revision there. */
export function debianVersion(version) {
  return version.replace("-", "~").replaceAll("-", ".");
}

/** KiB of the files, as Debian counts: each rounded up. */
function installedSize(directory) {
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => Math.ceil(statSync(join(entry.parentPath, entry.name)).size / 1024))
    .reduce((sum, size) => sum + size, 0);
}

function control({ version, arch, size }) {
  return `Package: flannel
Version: ${debianVersion(version)}
Architecture: ${arch.name}
Maintainer: the flannel project <flannel@localhost>
Installed-Size: ${size}
Depends: ${DEPENDS}
Recommends: iptables, nftables, systemd
Section: net
Priority: optional
Description: a subnet for every host of a container network
 An agent on each host, flanneld, takes a lease on a subnet from a store
 (etcd, or a file of its own), writes it down for Docker or CNI, and makes the
 kernel forward packets to the other hosts. It can take the place of flannel
 0.7.0.
 .
 The package brings Node.js inside of its one executable. No service is
 enabled by itself: systemctl enable --now flanneld
`;
}

/**
 * Makes the package of a tree.
 * @param {{ tree: string, arch: object, build: { version: string, time: number }, work: string }} parts `work` is made anew
 */
export async function debianPackage({ tree, arch, build, work }, file) {
  rmSync(work, { recursive: true, force: true });
  mkdirSync(join(work, "DEBIAN"), { recursive: true });
  cpSync(tree, join(work, "usr"), { recursive: true, verbatimSymlinks: true });
  const doc = join(work, "usr/share/doc/flannel");
  cpSync(join(doc, "LICENSE"), join(doc, "copyright"));
  const settings = join(work, "etc/flannel");
  mkdirSync(settings, { recursive: true });
  cpSync(join(SOURCE, "etc"), settings, { recursive: true });
  const conffiles = readdirSync(settings).toSorted();
  for (const name of conffiles) chmodSync(join(settings, name), 0o644);
  const put = (name, text, mode = 0o644) => writeFileSync(join(work, "DEBIAN", name), text, { mode });
  put("conffiles", conffiles.map((name) => `/etc/flannel/${name}\n`).join(""));
  for (const script of ["postinst", "prerm", "postrm"]) {
    if (existsSync(join(SOURCE, script))) put(script, readFileSync(join(SOURCE, script)), 0o755);
  }
  put("control", control({ version: build.version, arch, size: installedSize(join(work, "usr")) }));
  await step(
    `packing ${file.split("/").at(-1)}`,
    "dpkg-deb",
    ["--root-owner-group", "-Zzstd", "-z9", "--threads-max=1", "--build", work, file],
    { env: { ...process.env, SOURCE_DATE_EPOCH: String(build.time) } },
  );
  rmSync(work, { recursive: true });
}
