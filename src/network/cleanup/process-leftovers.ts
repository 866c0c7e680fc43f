import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { DescriptorKeeper } from "../../kernel/descriptor-keeper.ts";
import { isAlive } from "../../kernel/process-id.ts";
import { readHandoverRecord } from "../../operate/handover-record.ts";
import type { LeftAlone, Leftover, LeftoverSource } from "./leftover.ts";

const RECORD = /^handover(-.+)?\.json$/;

/**
 * Processes that hold a former daemon's TUN device and socket, which go with them.
 * @param open what takes from the holder of a record, and ends it when it is to keep nothing
 */
export function processLeftovers(
  stateDir: string,
  open: (record: string) => DescriptorKeeper & AsyncDisposable,
): LeftoverSource {
  return {
    async find() {
      const leftovers: Leftover[] = [];
      const leftAlone: LeftAlone[] = [];
      for (const name of (await readdir(stateDir).catch(() => [])).filter((name) => RECORD.test(name))) {
        const path = join(stateDir, name);
        try {
          const record = readHandoverRecord(path);
          if (record === undefined || !isAlive(record.holder)) continue;
          leftovers.push({
            kind: "process",
            name: `${record.holder.pid}, which holds ${record.names.join(", ")}`,
            async remove(options) {
              await using keeper = open(path);
              await keeper.keep(new Map(), options);
            },
          });
        } catch (error) {
          const reason = error instanceof Error ? error.message : String(error);
          leftAlone.push({ kind: "process", name: path, reason });
        }
      }
      return { leftovers, leftAlone };
    },
  };
}
