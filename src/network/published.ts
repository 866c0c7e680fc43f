import { mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { formatSubnetEnv, parseSubnetEnv, type SubnetEnv } from "../lease/subnet-env.ts";
import { writeFileAtomically } from "../lib/atomic-file.ts";

/** What the subnet file of an earlier run says; undefined if there is none, or nothing in it that could be relied on. */
export async function readPublished(file: string): Promise<SubnetEnv | undefined> {
  try {
    return parseSubnetEnv(await readFile(file, "utf8"));
  } catch {
    return undefined; // it is about to be written anew
  }
}

export async function publish(file: string, env: SubnetEnv): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o755 });
  await writeFileAtomically(file, formatSubnetEnv(env), { mode: 0o644 });
}
