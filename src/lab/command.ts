import { existsSync } from "node:fs";
import type { Argv, CommandModule } from "yargs";
import { describeError } from "../lib/errors.ts";
import { takesColors } from "../lib/terminal.ts";
import { type LabName, parseLabName } from "./address-plan.ts";
import { labOptions, upOptions } from "./command-options.ts";
import { runDemo } from "./demo.ts";
import { dismantle, namespacesOf, reclaim } from "./dismantle.ts";
import { InterruptedError, interruptible } from "./interrupt.ts";
import { Lab } from "./lab.ts";
import { endpointsOf, findLab, findLog, findPlace, labsToRemove } from "./lookup.ts";
import { isComplete, renderMatrix, summarize } from "./matrix.ts";
import { pingAll } from "./ping.ts";
import { ended, startProgram } from "./program.ts";
import { Progress } from "./progress.ts";
import { labDirectory, listRecords } from "./record.ts";
import { requireRoot } from "./requirements.ts";
import { describeHosts, describeLabs } from "./summary.ts";

/** What a command prints for people is coloured only where a terminal shows it. */
const text = { colors: takesColors(process.stdout) };

/** `flannel lab …`: many hosts on one machine. */
export const labCommand: CommandModule = {
  command: "lab",
  describe: "Many hosts on this machine, each a network namespace",
  builder: (yargs) =>
    yargs
      .command("up", "Make a lab and leave it running", upOptions, (args) =>
        exitWith(async (signal) => {
          using progress = new Progress();
          const options = { name: "lab", ...labOptions(args), detached: true, progress: progress.step, signal };
          const lab = await Lab.up(options).catch((error: unknown) => {
            progress.fail();
            throw error;
          });
          progress[Symbol.dispose]();
          print(`lab ${lab.name} is up, with ${lab.store.title}`, "", describeHosts(lab.record, text), "");
          print("next: flannel lab ping | exec h1 -- ip route | logs h1 | down");
          lab.release();
          return 0;
        }),
      )
      .command("ping", "Ping every pod from every other", pingOptions, (args) =>
        exitWith(async (signal) => {
          const { json, name, size } = args;
          const endpoints = endpointsOf(findLab(name), signal);
          const results = await pingAll(endpoints, size === undefined ? { signal } : { signal, size });
          if (json) print(JSON.stringify(results, undefined, 2));
          else print(renderMatrix(results, text), "", summarize(results, text));
          return isComplete(results) ? 0 : 1;
        }),
      )
      .command(
        "exec <host> [command..]",
        "Run a command on a host or in a pod: exec h1/p1 -- ip addr",
        execOptions,
        (args) =>
          exitWith(async (signal) => {
            requireRoot();
            const { namespace } = findPlace(findLab(args.name), args.host);
            const afterDashes = args._.slice(args._.indexOf("exec") + 1).map(String);
            const command = [...args.command, ...afterDashes];
            if (command.length === 0) command.push(process.env["SHELL"] ?? "/bin/sh");
            return await attend(["ip", "netns", "exec", namespace, ...command], signal);
          }),
      )
      .command("logs <host>", "Show the log of a host's flanneld, or of etcd or the server", logsOptions, (args) =>
        exitWith(async (signal) => {
          const log = findLog(findLab(args.name), args.host);
          return await attend(args.follow ? ["tail", "-n", "+1", "-F", log] : ["cat", log], signal);
        }),
      )
      .command("ls", "List the labs on this machine", jsonOption, (args) =>
        exitWith(async () => {
          const labs = listRecords();
          print(args.json ? JSON.stringify(labs, undefined, 2) : describeLabs(labs, text));
          return 0;
        }),
      )
      .command("down [name]", "Remove a lab, and what dead ones left", downOptions, (args) =>
        exitWith(async (signal) => {
          requireRoot();
          for (const name of await reclaim({ signal })) print(`removed lab ${name}, whose owner had died`);
          const names = args.name === undefined ? labsToRemove(args.all) : [namedLab(args.name)];
          if (names.length === 0) print("no other lab was left running");
          for (const name of names) {
            await dismantle(name, { signal });
            print(`removed lab ${name}`);
          }
          return 0;
        }),
      )
      .command("demo", "Make a lab, show what happened in it, ping, remove it", upOptions, (args) =>
        exitWith((signal) => runDemo({ name: "demo", ...labOptions(args), signal }, text)),
      )
      .demandCommand(1, "say what to do with a lab")
      .strict(),
  handler: () => {},
};

function nameOption(yargs: Argv) {
  return yargs.option("name", { type: "string", describe: "which lab, if there are several" });
}

function jsonOption(yargs: Argv) {
  return yargs.option("json", { type: "boolean", default: false, describe: "for programs" });
}

function pingOptions(yargs: Argv) {
  return jsonOption(nameOption(yargs) as Argv)
    .option("name", { type: "string" })
    .option("size", {
      type: "number",
      describe: "bytes of the whole packet, which may not be fragmented",
    });
}

function execOptions(yargs: Argv) {
  return nameOption(yargs)
    .positional("host", { type: "string", demandOption: true })
    .positional("command", { type: "string", array: true, default: [] as string[] });
}

function logsOptions(yargs: Argv) {
  return nameOption(yargs)
    .positional("host", { type: "string", demandOption: true })
    .option("follow", { alias: "f", type: "boolean", default: false, describe: "go on as it grows" });
}

function downOptions(yargs: Argv) {
  return yargs
    .positional("name", { type: "string", describe: "which lab, if there are several" })
    .option("all", { type: "boolean", default: false, describe: "every lab that was left running" });
}

/** A lab whose record is damaged can still be removed by its name. */
function namedLab(text: string): LabName {
  const name = parseLabName(text);
  return existsSync(labDirectory(name)) || namespacesOf(name).length > 0 ? name : findLab(name).name;
}

/** Runs a program in front of the person, at the same terminal. A Ctrl-C reaches it from there, and is for it to judge. */
async function attend(argv: readonly string[], signal: AbortSignal): Promise<number> {
  const child = startProgram(argv, { stdio: "inherit", detached: false });
  const onAbort = () => {
    if (!(signal.reason instanceof InterruptedError && signal.reason.signal === "SIGINT")) child.kill("SIGTERM");
  };
  signal.addEventListener("abort", onAbort, { once: true });
  return await ended(child);
}

async function exitWith(run: (signal: AbortSignal) => Promise<number>): Promise<void> {
  try {
    process.exitCode = await interruptible(run);
  } catch (error) {
    process.exitCode = error instanceof InterruptedError ? error.exitCode : 1;
    process.stderr.write(`flannel lab: ${describeError(error)}\n`);
  }
}

function print(...lines: readonly string[]): void {
  process.stdout.write(`${lines.join("\n")}\n`);
}
