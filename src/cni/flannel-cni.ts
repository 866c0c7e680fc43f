// The CNI plugin `flannel`: bin/flannel-cni, as container runtimes run it, once for every pod that comes or goes.
import manifest from "../../package.json" with { type: "json" };
import { asCniError, formatCniError } from "./cni-error.ts";
import { formatVersions, NEWEST_VERSION, requireCommandOf, SUPPORTED_VERSIONS } from "./cni-version.ts";
import { add, check, del, type Request, status } from "./commands.ts";
import { type Command, checkVariables, parseCommand } from "./environment.ts";
import { explain } from "./explain.ts";
import { collectGarbage } from "./garbage.ts";
import { EXPLAIN, type HandOver, handOver } from "./hand-over.ts";
import { parseJsonObject } from "./json-object.ts";
import { parseNetworkConfig } from "./network-config.ts";
import { readStandardInput, writeStandardOutput } from "./standard-streams.ts";

const RUN: Readonly<Record<Exclude<Command, "VERSION">, (request: Request) => string | HandOver>> = {
  ADD: add,
  DEL: del,
  CHECK: check,
  STATUS: status,
  GC: collectGarbage,
};

/** What goes to standard output, result or error, and the exit code. */
function answer(): { readonly output: string; readonly exitCode: number } {
  const variables = process.env;
  let cniVersion: string = NEWEST_VERSION;
  try {
    const command = parseCommand(variables);
    checkVariables(command, variables);
    const text = readStandardInput();
    if (command === "VERSION") return { output: formatVersions(versionIn(text)), exitCode: 0 };
    const json = parseJsonObject(text, "the network's config on standard input");
    const config = parseNetworkConfig(json);
    cniVersion = config.cniVersion;
    requireCommandOf(config.cniVersion, command);
    const result = RUN[command]({ config, variables });
    return { output: typeof result === "string" ? result : handOver(result, cniVersion), exitCode: 0 };
  } catch (error) {
    return { output: formatCniError(asCniError(error), cniVersion), exitCode: 1 };
  }
}

/** Of a VERSION request, that older runtimes send without any config. */
function versionIn(text: string): string | undefined {
  if (text.trim() === "") return undefined;
  const { cniVersion } = parseJsonObject(text, "the request on standard input");
  return typeof cniVersion === "string" ? cniVersion : undefined;
}

function main(): void {
  const { output, exitCode } = answer();
  writeStandardOutput(output);
  process.exitCode = exitCode;
}

/** For a person; a runtime gives no arguments. */
function usage(args: readonly string[]): string {
  const { version } = manifest;
  if (args.includes("--version")) return `${version}\n`;
  return `flannel ${version}, a plugin of CNI ${SUPPORTED_VERSIONS.join(", ")}: container runtimes run it by the name "flannel"\n`;
}

const args = process.argv.slice(2);
if (args[0] === EXPLAIN) writeStandardOutput(explain(args.slice(1), readStandardInput()));
else if (process.env["CNI_COMMAND"] === undefined && args.length > 0) writeStandardOutput(usage(args));
else main();
