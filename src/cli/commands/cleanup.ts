import type { ArgumentsCamelCase, Argv, CommandModule } from "yargs";
import { openCloud } from "../../cloud/open-cloud.ts";
import { type Prefix, parsePrefix } from "../../ip/prefix.ts";
import { closeAllOnExec } from "../../kernel/descriptors.ts";
import type { Firewall } from "../../kernel/firewall/firewall.ts";
import { openFirewall } from "../../kernel/firewall/linux-firewall.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import { openKernel } from "../../kernel/linux-kernel.ts";
import { Pidfd } from "../../kernel/pidfd.ts";
import { openRemains, type Remains } from "../../kernel/remains.ts";
import { interruptible } from "../../lab/interrupt.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { systemClock } from "../../lib/clock.ts";
import type { Logger } from "../../lib/logger.ts";
import { type CleanUpReport, cleanUp } from "../../network/cleanup/clean-up.ts";
import { cloudLeftovers } from "../../network/cleanup/cloud-leftovers.ts";
import { envFileLeftovers, stateLeftovers } from "../../network/cleanup/file-leftovers.ts";
import { firewallLeftovers } from "../../network/cleanup/firewall-leftovers.ts";
import { type HostRecord, readHostRecord } from "../../network/cleanup/host-record.ts";
import { kernelLeftovers } from "../../network/cleanup/kernel-leftovers.ts";
import type { LeftoverSource } from "../../network/cleanup/leftover.ts";
import { processLeftovers } from "../../network/cleanup/process-leftovers.ts";
import { settingsLeftovers } from "../../network/cleanup/settings-leftovers.ts";
import { openSettingsRecord, type SettingsRecord } from "../../network/settings/settings-record.ts";
import { HolderKeeper } from "../../operate/holder-keeper.ts";
import { runningDaemons } from "../../operate/other-daemons.ts";
import { FLANNELD_FLAGS } from "../flanneld-flag-table.ts";
import { openLogger } from "../log.ts";
import { claimState } from "../state-lock.ts";
import { print, printJson } from "./output.ts";
import { CommandError, failed, UsageError } from "./store-command.ts";

const SHAPE = `{dryRun, removed: [{kind, name}], leftAlone: [{kind, name, reason}], failed: [{kind, name, reason}]}`;

/** Where mk-docker-opts.sh writes unless it is told. */
const DOCKER_FILE = "/run/docker_opts.env";

interface CleanupArguments {
  readonly stateDir: string;
  readonly subnetFile: string;
  readonly subnetDir: string;
  readonly network: readonly string[];
  readonly envFiles: boolean;
  readonly state: boolean;
  readonly dryRun: boolean;
  readonly force: boolean;
  readonly json: boolean;
}

/** `flannel cleanup`: this host as it was before any flannel. */
export const cleanupCommand: CommandModule<object, CleanupArguments> = {
  command: "cleanup",
  describe: "Remove everything that any flannel made on this host",
  builder: (yargs) => withOptions(yargs),
  async handler(args) {
    try {
      await interruptible((signal) => run(args, { signal }));
    } catch (error) {
      failed(error);
    }
  },
};

function withOptions(yargs: Argv): Argv<CleanupArguments> {
  const place = (name: "state-dir" | "subnet-file" | "subnet-dir") => ({
    type: "string" as const,
    describe: FLANNELD_FLAGS[name].help,
    default: process.env[`FLANNELD_${name.toUpperCase().replaceAll("-", "_")}`] || FLANNELD_FLAGS[name].default,
    requiresArg: true,
  });
  return yargs
    .option("state-dir", place("state-dir"))
    .option("subnet-file", place("subnet-file"))
    .option("subnet-dir", place("subnet-dir"))
    .option("network", {
      type: "string",
      array: true,
      default: [],
      describe: "a Network that no file on this host tells of, as 10.5.0.0/16",
      requiresArg: true,
    })
    .option("env-files", {
      type: "boolean",
      default: false,
      describe: "also the files that tell other programs the subnet",
    })
    .option("state", {
      type: "boolean",
      default: false,
      describe: "also what is remembered: the next flanneld takes another subnet and MAC",
    })
    .option("dry-run", { type: "boolean", default: false, describe: "only show what would be removed" })
    .option("force", { type: "boolean", default: false, describe: "even if a flanneld runs" })
    .option("json", { type: "boolean", default: false, describe: "for programs" })
    .epilogue(
      `Removes devices, with all that stands on them, routes, nexthop objects, firewall rules and the process that keeps a
stopped flanneld's device: this flannel's, 0.7.0's and later releases'; and puts back the settings of this host that
--configure-host changed. Nothing else is touched; containers' bridges are not flannel's.

--json prints ${SHAPE}.`,
    ) as unknown as Argv<CleanupArguments>;
}

async function run(args: ArgumentsCamelCase<CleanupArguments>, { signal }: Abortable): Promise<void> {
  const { stateDir, subnetFile, subnetDir, dryRun, force, json } = args;
  const logger = await openLogger({ format: "text", verbosity: 0 }, "flannel");
  using claim = claimState(stateDir);
  if (!force && !dryRun) requireStopped(claim.users, stateDir);
  const places = { stateDir, subnetFile, subnetDir, networks: args.network.map(readNetwork) };
  const record = await readHostRecord(places, logger);
  using remains = openRemains();
  using firewall = await openFirewall({ signal });
  using kernel = openKernel({ logger });
  const settings = await openSettingsRecord(stateDir, logger);
  const parts = { remains, firewall, kernel, settings, logger };
  const report = await cleanUp(sourcesOf(args, record, parts), { isRehearsal: dryRun, signal });
  // From now on these names and networks may be somebody else's.
  if (!dryRun && report.failed.length === 0) {
    await settings.forget();
    if (!args.state)
      for (const file of record.states)
        await file.write({ ...(await file.read()), links: [], networks: [], claims: [] });
  }
  if (json) printJson({ dryRun, ...report });
  else print(...describe(report, dryRun));
  if (report.failed.length > 0) process.exitCode = 1;
}

interface CleanupParts {
  readonly remains: Remains;
  readonly firewall: Firewall;
  readonly kernel: Kernel;
  readonly settings: SettingsRecord;
  readonly logger: Logger;
}

/** In the order in which they are emptied: what holds before what is held, and what tells of the others last. */
function sourcesOf(
  { stateDir, envFiles, state }: CleanupArguments,
  record: HostRecord,
  { remains, firewall, kernel, settings, logger }: CleanupParts,
): readonly LeftoverSource[] {
  const openKeeper = (path: string) =>
    new HolderKeeper({
      record: path,
      timeout: 0,
      openProcess: (id) => Pidfd.open(id),
      closeAllOnExec,
      clock: systemClock,
      logger,
    });
  return [
    processLeftovers(stateDir, openKeeper),
    firewallLeftovers(firewall, record.networks),
    kernelLeftovers(remains, record),
    cloudLeftovers(openCloud({ clock: systemClock, env: process.env }), record.claims),
    settingsLeftovers(kernel, settings),
    ...(envFiles ? [envFileLeftovers(record, [DOCKER_FILE])] : []),
    ...(state ? [stateLeftovers(stateDir)] : []),
  ];
}

/** @throws {CommandError} if a daemon runs, which would make everything again at once */
function requireStopped(users: readonly number[] | undefined, stateDir: string): void {
  const daemons = runningDaemons();
  if (users === undefined && daemons.length === 0) return;
  const whose = users === undefined ? "" : ` with the state directory ${stateDir}`;
  const pids = [...new Set([...(users ?? []), ...daemons])].toSorted((a, b) => a - b);
  const which = pids.length === 0 ? "" : `, pid ${pids.join(", ")}`;
  throw new CommandError(
    `a flanneld${whose} is running${which}, and would make everything again: stop it first (systemctl stop flanneld, ` +
      `or kill ${pids[0] ?? "PID"}), or use --force`,
  );
}

function readNetwork(text: string): Prefix {
  try {
    return parsePrefix(text);
  } catch (error) {
    throw new UsageError(`--network: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

function describe({ removed, leftAlone, failed }: CleanUpReport, dryRun: boolean): readonly string[] {
  const list = (title: string, rows: readonly { kind: string; name: string; reason?: string }[]) =>
    rows.length === 0
      ? []
      : [
          title,
          ...rows.map(
            ({ kind, name, reason }) => `  ${kind.padEnd(9)} ${name}${reason === undefined ? "" : `: ${reason}`}`,
          ),
        ];
  if (removed.length + leftAlone.length + failed.length === 0) return ["nothing of flannel's is on this host"];
  return [
    ...list(dryRun ? "would remove" : "removed", removed),
    ...list("left alone", leftAlone),
    ...list("could not remove", failed),
  ];
}
