import type { Lab } from "../../src/lab/lab.ts";
import { launcher } from "../../src/lab/launcher.ts";
import { labDirectory } from "../../src/lab/record.ts";

/** Runs the `flannel` tool on a lab's store, from where the store can be reached. @returns its standard output */
export async function flannel(lab: Lab, ...args: readonly string[]): Promise<string> {
  const state = `--state-dir=${labDirectory(lab.name)}/tool`;
  return await lab.switch.namespace.run([launcher("flannel"), ...args, ...lab.store.flags, state]);
}
