import { spawnSync } from "node:child_process";
import { statSync } from "node:fs";
import { join } from "node:path";
import { CNI_CODE, CniError } from "./cni-error.ts";
import type { DelegateConfig } from "./delegate-config.ts";
import { pluginDirectories, type Variables } from "./environment.ts";
import { isJsonObject, shorten } from "./json-object.ts";

export interface DelegateCall {
  readonly config: DelegateConfig;
  /** What the runtime gave us; the delegate gets the same, and other values here are for GC. */
  readonly variables: Variables;
  /** Inherited, so that it lives as long as the delegate. */
  readonly lock?: number;
}

/** Bytes of a result; one with a thousand routes has 100 KiB. */
const LONGEST_RESULT = 16 << 20;

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
 * @returns its standard output, unread
 * @throws {CniError} with the code and the message that it gave
 */
export function runDelegate({ config, variables, lock }: DelegateCall): string {
  const { type } = config;
  const path = findDelegate(type, variables);
  const { error, status, signal, stdout } = spawnSync(path, [], {
    env: variables,
    input: JSON.stringify(config),
    stdio: ["pipe", "pipe", "inherit", ...(lock === undefined ? [] : [lock])],
    encoding: "utf8",
    maxBuffer: LONGEST_RESULT,
  });
  // It may end without having read its config, VERSION for one; what it says then counts.
  if (error !== undefined && status === null)
    throw new CniError(CNI_CODE.delegateFailed, `${path}: ${error.message}`, undefined, { cause: error });
  if (status === 0) return stdout;
  throw (
    readError(type, stdout) ?? unexplained(path, status === null ? `by ${signal}` : `with exit code ${status}`, stdout)
  );
}

function readError(type: string, text: string): CniError | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isJsonObject(value) || typeof value["msg"] !== "string") return undefined;
  const { code, msg, details } = value;
  return new CniError(
    typeof code === "number" && Number.isSafeInteger(code) && code > 0 ? code : CNI_CODE.delegateFailed,
    `${type}: ${msg}`,
    typeof details === "string" && details !== "" ? details : undefined,
  );
}

function unexplained(path: string, how: string, output: string): CniError {
  const said = shorten(output);
  return new CniError(
    CNI_CODE.delegateFailed,
    `${path} ended ${how} and did not say why; see its standard error`,
    said === "" ? undefined : said,
  );
}
