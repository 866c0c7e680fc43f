import { existsSync, readdirSync } from "node:fs";
import type { Abortable } from "../lib/abortable.ts";
import { type LabName, namespacePrefix } from "./address-plan.ts";
import { NAMESPACE_DIRECTORY } from "./namespace.ts";
import { endProcesses, processesInNamespaces } from "./processes.ts";
import { execute } from "./program.ts";
import { isOrphan, labDirectory, listRecords, releaseName, removeStaging, takeOver } from "./record.ts";
import { waitUntil } from "./wait.ts";

/** Of ending processes, which might go on for ever where one cannot be ended at all. */
const MOST_ROUNDS = 5;

/**
 * Ends everything that runs in the lab's namespaces, removes them and then its files; whatever of it is there.
 * Needs nothing but the name, so that it serves a lab that is half up and one whose owner is dead.
 * If another process is at it already, waits until that one is done.
 */
export async function dismantle(name: LabName, { signal }: Abortable): Promise<void> {
  if (!takeOver(name)) {
    const isGone = () => !existsSync(labDirectory(name));
    await waitUntil(isGone, { signal, within: 10_000, what: `another process takes lab ${name} down` });
    return;
  }
  const namespaces = namespacesOf(name);
  await endAll(namespaces, { signal });
  if (namespaces.length > 0) {
    const input = namespaces.map((each) => `netns del ${each}\n`).join("");
    const { stderr } = await execute(["ip", "-force", "-batch", "-"], { signal, input });
    if (namespacesOf(name).length > 0) throw new Error(`lab ${name} cannot be removed: ${stderr.trim()}`);
  }
  releaseName(name);
}

/** What ends may start something else first, as a daemon that has its descriptors kept. */
async function endAll(namespaces: readonly string[], { signal }: Abortable): Promise<void> {
  const paths = namespaces.map((each) => `${NAMESPACE_DIRECTORY}/${each}`);
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const processes = processesInNamespaces(paths);
    if (processes.length === 0) return;
    await endProcesses(processes, { signal });
  }
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
