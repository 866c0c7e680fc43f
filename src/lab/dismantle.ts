import { readdirSync } from "node:fs";
import type { Abortable } from "../lib/abortable.ts";
import { type LabName, namespacePrefix } from "./address-plan.ts";
import { ipBatch, NAMESPACE_DIRECTORY } from "./namespace.ts";
import { endProcesses, processesInNamespaces } from "./processes.ts";
import { isOrphan, listRecords, releaseName, removeStaging } from "./record.ts";

/**
 * Ends everything that runs in the lab's namespaces, removes them and then its files; whatever of it is there.
 * Needs nothing but the name, so that it serves a lab that is half up and one whose owner is dead.
 */
export async function dismantle(name: LabName, options: Abortable): Promise<void> {
  const namespaces = namespacesOf(name);
  await endProcesses(processesInNamespaces(namespaces.map((each) => `${NAMESPACE_DIRECTORY}/${each}`)), options);
  await ipBatch(
    namespaces.map((each) => `netns del ${each}`),
    options,
  );
  releaseName(name);
}

/** Dismantles every lab whose owner died. @returns their names */
export async function reclaim(options: Abortable): Promise<readonly LabName[]> {
  removeStaging();
  const orphans = listRecords().filter(isOrphan);
  for (const { name } of orphans) await dismantle(name, options);
  return orphans.map(({ name }) => name);
}

export function namespacesOf(name: LabName): readonly string[] {
  try {
    return readdirSync(NAMESPACE_DIRECTORY).filter((each) => each.startsWith(namespacePrefix(name)));
  } catch {
    return [];
  }
}
