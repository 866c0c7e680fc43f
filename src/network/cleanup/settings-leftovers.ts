import type { Kernel, SysctlRow } from "../../kernel/kernel.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { sysctlName } from "../settings/needs.ts";
import type { ChangedSetting, SettingsRecord } from "../settings/settings-record.ts";
import type { LeftAlone, Leftover, LeftoverSource } from "./leftover.ts";

type Sysctls = Pick<Kernel, "sysctlTable">;

/** Settings of the host that were changed for flannel's sake, each put back to what was found; not one that somebody else has changed since. */
export function settingsLeftovers(kernel: Sysctls, record: SettingsRecord): LeftoverSource {
  return {
    async find(options) {
      const { changed } = record;
      const now = new Map((await read(kernel, changed, options)).map(({ key, value }) => [key, value]));
      const leftovers: Leftover[] = [];
      const leftAlone: LeftAlone[] = [];
      for (const [index, { key, found, set }] of changed.entries()) {
        const value = now.get(key);
        if (set === undefined || value === undefined || value === found) continue;
        const name = `${sysctlName(key)} = ${value}, was ${found}`;
        if (value === set)
          leftovers.push({
            kind: "sysctl",
            name,
            remove: (options) =>
              putBack(kernel, [{ key, value: found }, ...takenAlong(changed.slice(index + 1))], options),
          });
        else
          leftAlone.push({
            kind: "sysctl",
            name,
            reason: `flannel set it to ${set}; somebody else has changed it since`,
          });
      }
      return { leftovers: leftovers.toReversed(), leftAlone };
    },
  };
}

/** What the kernel changes once more, along with the one before. */
function takenAlong(after: readonly ChangedSetting[]): readonly SysctlRow[] {
  const end = after.findIndex(({ set }) => set !== undefined);
  return (end < 0 ? after : after.slice(0, end)).map(({ key, found }) => ({ key, value: found }));
}

/** One whose device is gone is nobody's. */
async function putBack(kernel: Sysctls, rows: readonly SysctlRow[], options: Abortable): Promise<void> {
  const present = new Set((await read(kernel, rows, options)).map(({ key }) => key));
  const table = kernel.sysctlTable({ keys: rows.map(({ key }) => key) });
  const [failure] = await table.apply({ puts: rows.filter(({ key }) => present.has(key)), removals: [] }, options);
  if (failure !== undefined) throw failure.error;
}

function read(kernel: Sysctls, rows: readonly { readonly key: string }[], options: Abortable) {
  return kernel.sysctlTable({ keys: rows.map(({ key }) => key) }).list(options);
}
