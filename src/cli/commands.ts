import type { Argv, CommandModule } from "yargs";
import { versionLine } from "./version.ts";

/** A command whose code is read only when it is asked for, so that each stays quick. */
function lazy(command: string, describe: string, load: () => Promise<CommandModule>): CommandModule {
  return {
    command,
    describe,
    builder: async (yargs: Argv) => {
      const { builder } = await load();
      return typeof builder === "function" ? await builder(yargs) : yargs.options(builder ?? {});
    },
    handler: async (args) => await (await load()).handler(args),
  };
}

/** Every command of `flannel`. */
export const COMMANDS: CommandModule[] = [
  lazy(
    "config",
    "Show and change a network's config",
    async () => (await import("./commands/config.ts")).configCommand,
  ),
  lazy("lease", "List and revoke the hosts' leases", async () => (await import("./commands/lease.ts")).leaseCommand),
  lazy(
    "reservation",
    "Keep subnets for hosts",
    async () => (await import("./commands/reservation.ts")).reservationCommand,
  ),
  lazy("store", "Back up an embedded store", async () => (await import("./commands/store.ts")).storeCommand),
  lazy(
    "cleanup",
    "Remove everything that any flannel made on this host",
    async () => (await import("./commands/cleanup.ts")).cleanupCommand as CommandModule,
  ),
  lazy(
    "lab",
    "Many hosts on this machine, each a network namespace",
    async () => (await import("../lab/command.ts")).labCommand,
  ),
  {
    command: "version",
    describe: "Show the version",
    handler: () => console.log(versionLine),
  },
];
