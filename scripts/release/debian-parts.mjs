// What comes from Debian, of either architecture: unpacked, not installed, so that nothing of it has to run.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { step } from "../steps.mjs";
import { cache } from "./parts.mjs";

export const SUITE = "bookworm";

/** Beside what the image holds, libatomic, which Node needs and few systems have. */
const PACKAGES = ["libatomic1", "libstdc++6", "dash", "coreutils", "util-linux", "nftables", "iptables"];

/** Written into the directory by {@link debianParts}: a line `name version` for each package. */
const LIST = "flannel-packages";
/** Likewise a line `name path` for each file. */
export const FILE_LIST = "flannel-files";

/** Run where the packages lie, before they are unpacked. */
const LISTS = `for deb in "$1"/var/cache/apt/archives/*.deb; do
  dpkg-deb -W --showformat='\${Package} \${Version}\\n' "$deb" >>"$1/${LIST}"
  name=$(dpkg-deb -f "$deb" Package)
  dpkg-deb --fsys-tarfile "$deb" | tar -t | sed "s,^\\./,$name ," >>"$1/${FILE_LIST}"
done`;

/** A directory with the packages' files. It is kept; `npm run dist -- --fresh` asks Debian again. */
export async function debianParts(arch, { fresh = false } = {}) {
  const key = createHash("sha256")
    .update([SUITE, ...PACKAGES, LISTS].join(" "))
    .digest("hex")
    .slice(0, 8);
  const directory = join(cache, `debian-${arch.name}-${key}`);
  if (existsSync(directory) && !fresh) return directory;
  const unpacked = `${directory}.new`;
  mkdirSync(cache, { recursive: true });
  rmSync(unpacked, { recursive: true, force: true });
  await step(`${arch.name}: unpacking Debian's parts`, "mmdebstrap", [
    "--mode=root",
    "--variant=extract",
    `--architectures=${arch.name}`,
    `--include=${PACKAGES.join(",")}`,
    `--extract-hook=${LISTS}`,
    SUITE,
    unpacked,
  ]);
  rmSync(directory, { recursive: true, force: true });
  renameSync(unpacked, directory);
  return directory;
}

/** Version by name of each package in a directory of {@link debianParts}. */
export function debianVersions(directory) {
  const lines = readFileSync(join(directory, LIST), "utf8").trim().split("\n");
  return new Map(lines.map((line) => line.split(" ")));
}
