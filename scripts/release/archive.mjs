// Archives that are the same, byte for byte, whenever they are made of the same files.
import { createHash } from "node:crypto";
import { createReadStream, statSync } from "node:fs";
import { pipeline } from "node:stream/promises";
import { step } from "../steps.mjs";

/** Arguments of GNU tar for that: names in order, one time for all, no owner of this machine. */
export function tarFlags(time) {
  return ["--format=gnu", "--sort=name", `--mtime=@${time}`, "--owner=0", "--group=0", "--numeric-owner"];
}

/** Makes a gzipped tar of one directory's `entries`. gzip's header has neither name nor time. */
export async function tarball({ directory, entries, time, prefix }, file) {
  const rename = prefix === undefined ? [] : [`--transform=flags=r;s,^\\.,${prefix},`];
  await step(`packing ${file.split("/").at(-1)}`, "tar", [
    ...tarFlags(time),
    ...rename,
    "--use-compress-program=gzip -n",
    "-C",
    directory,
    "-cf",
    file,
    ...entries,
  ]);
}

/** SHA-256 of a file, in hex. */
export async function sha256(file) {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return hash.digest("hex");
}

/** `12.3 MB` */
export function size(file) {
  return `${(statSync(file).size / 1e6).toFixed(1)} MB`;
}
