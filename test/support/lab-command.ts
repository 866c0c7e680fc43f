import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import type { LabName } from "../../src/lab/address-plan.ts";
import { namespacesOf } from "../../src/lab/dismantle.ts";
import { processesInNamespaces } from "../../src/lab/processes.ts";
import { labDirectory } from "../../src/lab/record.ts";

/** Until a lab has come so far: no deadline, and etcd alone starts in seconds where others load the machine. */
export const PATIENCE = 30_000;
/** As people start it; in a third of the time that the sources take. */
export const PROGRAM = join(import.meta.dirname, "../../dist/flannel.cjs");
export const labEnv = { ...process.env, NODE: process.execPath, NO_COLOR: "1" };

/** Arguments of `flannel lab up` and `demo` for two hosts whose daemons are stand-ins that start in no time. */
export function fakeHosts(name: LabName): readonly string[] {
  const flanneld = join(import.meta.dirname, "../lab/fake-flanneld");
  return ["--name", name, "--store", "etcd3", "--hosts", "2", `--flanneld=${flanneld}`];
}

/** Runs `flannel lab …` to its end. */
export function lab(...args: readonly string[]) {
  const options = { env: labEnv, encoding: "utf8" } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, "lab", ...args], options);
  return { status, stdout, stderr };
}

/** Starts `flannel lab …` and collects what it says. */
export function startLab(...args: readonly string[]) {
  const stdio = ["ignore", "pipe", "pipe"] as const;
  const child = spawn(process.execPath, [PROGRAM, "lab", ...args], { env: labEnv, stdio: [...stdio] });
  const said = { text: "" };
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text) => (said.text += text));
  return { child, said };
}

export async function exitOf(child: ChildProcess): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  return child.exitCode;
}

export function processesOfLab(name: LabName) {
  return processesInNamespaces(namespacesOf(name).map((each) => `/run/netns/${each}`));
}

export function expectNothingLeftOf(name: LabName) {
  expect(namespacesOf(name)).toEqual([]);
  expect(existsSync(labDirectory(name))).toBe(false);
}
