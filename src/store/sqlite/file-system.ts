import { statfsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { UnsupportedError } from "../../lib/errors.ts";

/** File systems whose files other machines may change, by `f_type` of statfs(2); include/uapi/linux/magic.h and statfs(2). */
const NETWORK_FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x6969, "NFS"],
  [0x517b, "SMB"],
  [0xff534d42, "CIFS"],
  [0xfe534d42, "SMB2"],
  [0x01021997, "9P"],
  [0x00c36400, "Ceph"],
  [0x5346414f, "AFS"],
  [0x6b414653, "AFS"],
  [0x73757245, "Coda"],
  [0x564c, "NCP"],
  [0x0bd00bd0, "Lustre"],
  [0x19830326, "BeeGFS"],
  [0x47504653, "GPFS"],
  [0x01161970, "GFS2"],
  [0x7461636f, "OCFS2"],
  [0x20030528, "OrangeFS"],
]);

/** Tells the `f_type` of the file system that holds a path. @throws what statfs(2) throws */
export type FileSystemType = (path: string) => number;

// f_type is a signed long on some platforms; CIFS's number has the top bit set.
const fileSystemType: FileSystemType = (path) => statfsSync(path).type >>> 0;

/**
 * Locks and change notifications of one machine do not reach another: the store must be on a local file system.
 * @throws {UnsupportedError} naming the network file system that `file` is on, or would be on
 */
export function requireLocalFileSystem(file: string, typeOf: FileSystemType = fileSystemType): void {
  for (let path = resolve(file); ; path = dirname(path)) {
    let type: number;
    try {
      type = typeOf(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT" || path === dirname(path)) throw error;
      continue;
    }
    const name = NETWORK_FILE_SYSTEMS.get(type);
    if (name === undefined) return;
    throw new UnsupportedError(
      "embedded-store",
      `--embedded-store: ${file} is on ${name}, a network file system`,
      "put it on a local disk; for several machines use etcd",
    );
  }
}
