import type { ArgumentsCamelCase, Argv, CommandModule } from "yargs";
import { interruptible } from "../../lab/interrupt.ts";
import { openLogger } from "../log.ts";
import { print, printJson } from "./output.ts";
import { failed, UsageError } from "./store-command.ts";
import { readStoreOptions, withStoreFlags } from "./store-options.ts";

/** `flannel store …`: what concerns a store as a whole. */
export const storeCommand: CommandModule = {
  command: "store",
  describe: "Back up an embedded store",
  builder: (yargs) =>
    yargs
      .command("backup <file>", "Copy an embedded store, whatever is being written meanwhile", backupOptions, backup)
      .demandCommand(1, "say what to do with the store")
      .strict(),
  handler: () => {},
};

function backupOptions(yargs: Argv) {
  return withStoreFlags(yargs, ["embedded-store"])
    .positional("file", { type: "string", demandOption: true, describe: "where to, replaced if it is there" })
    .option("json", { type: "boolean", default: false, describe: "for programs" })
    .epilogue(
      `Daemons and servers go on meanwhile. To restore, put the copy in the place of the store, with or without daemons running.
For etcd there is etcdctl snapshot save.

--json prints {file, networks, leases, revision}.`,
    );
}

async function backup(args: ArgumentsCamelCase<{ readonly file: string; readonly json: boolean }>): Promise<void> {
  try {
    const { store } = readStoreOptions(args, process.env);
    if (store.kind !== "embedded")
      throw new UsageError("--embedded-store: say which file to copy; an etcd is copied by etcdctl snapshot save");
    const { backUpStore } = await import("../../store/sqlite/back-up.ts");
    const logger = await openLogger({ format: "text", verbosity: 0 }, "flannel");
    const { networks, leases, revision } = await interruptible((signal) =>
      backUpStore(store.file, args.file, { logger }, { signal }),
    );
    if (args.json) printJson({ file: args.file, networks, leases, revision: String(revision) });
    else print(`copied to ${args.file}: networks ${networks}, leases ${leases}, revision ${revision}`);
  } catch (error) {
    failed(error);
  }
}
