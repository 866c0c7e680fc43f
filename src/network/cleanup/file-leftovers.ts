import { readdir, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import type { HostRecord } from "./host-record.ts";
import type { Leftover, LeftoverSource } from "./leftover.ts";

/** Files with which other programs learn the subnet. */
export function envFileLeftovers({ subnetFiles }: HostRecord, others: readonly string[]): LeftoverSource {
  return { find: async () => ({ leftovers: [...subnetFiles, ...others].map(fileLeftover), leftAlone: [] }) };
}

/** What is kept in the state directory besides a store that somebody put there. */
const STATE_FILE = /^(network-.+\.json|handover(-.+)?\.json|etcd-api\.json|sysctls\.json|lock)$/;

/** All that is remembered of this host: subnet, MAC, choices. */
export function stateLeftovers(stateDir: string): LeftoverSource {
  return {
    async find() {
      const names = await readdir(stateDir).catch(() => []);
      const files = names.filter((name) => STATE_FILE.test(name)).map((name) => fileLeftover(join(stateDir, name)));
      const directory: Leftover = {
        kind: "directory",
        name: stateDir,
        remove: () => rmdir(stateDir),
      };
      const isAll = names.length > 0 && files.length === names.length;
      return { leftovers: isAll ? [...files, directory] : files, leftAlone: [] };
    },
  };
}

function fileLeftover(path: string): Leftover {
  return { kind: "file", name: path, remove: () => rm(path, { force: true }) };
}
