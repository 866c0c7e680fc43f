import { spawnSync } from "node:child_process";
import { statSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { CNI_CODE, CniError } from "./cni-error.ts";
import type { DelegateConfig } from "./delegate-config.ts";
import { delegateError } from "./delegate-error.ts";
import { pluginDirectories, type Variables } from "./environment.ts";

export interface DelegateCall {
  readonly config: DelegateConfig;
  /** What the runtime gave us; the delegate gets the same, and other values here are for GC. */
  readonly variables: Variables;
  /** A descriptor to inherit, which lives as long as the delegate. */
  readonly lock?: number;
}

/** Bytes of what a delegate may say. */
const LONGEST_OUTPUT = 16 << 20;

/** @throws {CniError} naming the plugin and where it was looked for */
export function findDelegate(type: string, variables: Variables): string {
  const directories = pluginDirectories(variables);
  const path = directories
    .map((directory) => join(directory, type))
    .find((path) => statSync(path, { throwIfNoEntry: false })?.isFile());
  if (path !== undefined) return path;
  throw new CniError(
    CNI_CODE.delegateMissing,
    `the plugin ${JSON.stringify(type)}, which does the work for flannel, is not in ${directories.join(", ") || "CNI_PATH, which is not set"}`,
  );
}

/**
 * Runs the plugin that does the work, by the protocol that we were run by ourselves; what it says on standard error goes to ours.
 * ADD and DEL use the quicker {@link handOver}.
 * @returns its standard output, unread
 * @throws {CniError} with the code and the message that it gave
 */
export function runDelegate({ config, variables, lock }: DelegateCall): string {
  const path = findDelegate(config.type, variables);
  const { error, status, signal, stdout } = spawnSync(path, [], {
    env: variables,
    input: JSON.stringify(config),
    stdio: ["pipe", "pipe", "inherit", ...(lock === undefined ? [] : [lock])],
    encoding: "utf8",
    maxBuffer: LONGEST_OUTPUT,
  });
  if (status === 0) return stdout; // though it may not have read its config
  if (status === null && signal === null)
    throw new CniError(CNI_CODE.delegateFailed, `${path}: ${error?.message}`, undefined, { cause: error });
  throw delegateError({ path, status: status ?? 128 + constants.signals[signal ?? "SIGKILL"], output: stdout });
}
