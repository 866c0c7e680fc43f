import type { ArgumentsCamelCase, Argv } from "yargs";
import { InvalidConfigError } from "../../lib/errors.ts";
import { FLANNELD_FLAGS } from "../flanneld-flag-table.ts";
import { parseFlanneld } from "../flanneld-flags.ts";
import type { StoreOptions } from "../flanneld-store-flags.ts";

/** What every command that works on a store is told; flanneld's own names and meanings. */
const STORE_FLAGS = [
  "embedded-store",
  "remote",
  "remote-cafile",
  "remote-certfile",
  "remote-keyfile",
  "etcd-endpoints",
  "etcd-prefix",
  "etcd-api",
  "etcd-cafile",
  "etcd-certfile",
  "etcd-keyfile",
  "etcd-username",
  "etcd-password",
  "state-dir",
] as const;

export interface StoreArguments {
  readonly network: string;
  readonly json: boolean;
}

/** Adds `--network`, `--json` and flanneld's options of the store. */
export function withStoreOptions(yargs: Argv): Argv<StoreArguments> {
  return withStoreFlags(yargs, STORE_FLAGS)
    .option("network", { type: "string", default: "", describe: "of several networks, which one", requiresArg: true })
    .option("json", { type: "boolean", default: false, describe: "for programs" });
}

/** Adds these of flanneld's options of the store. */
export function withStoreFlags(yargs: Argv, names: readonly (typeof STORE_FLAGS)[number][]): Argv {
  for (const name of names) {
    const { help, default: fallback, value } = FLANNELD_FLAGS[name];
    const shown = fallback === "" ? {} : { defaultDescription: fallback };
    yargs.option(name, {
      type: "string",
      describe: `${help} [${value}]`,
      requiresArg: true,
      group: "Store:",
      ...shown,
    });
  }
  return yargs;
}

/**
 * The store that the arguments name, else the variables FLANNELD_* as flanneld reads them.
 * @throws {InvalidConfigError} naming the option
 */
export function readStoreOptions(
  args: ArgumentsCamelCase,
  env: Readonly<Record<string, string | undefined>>,
): { readonly store: StoreOptions; readonly stateDir: string } {
  const given = STORE_FLAGS.flatMap((name) => {
    const value = [args[name]].flat().at(-1);
    return typeof value === "string" ? [{ name, argument: `--${name}=${value}` }] : [];
  });
  const isEmbedded = given.some(({ name }) => name === "embedded-store");
  const isEtcd = given.some(({ name }) => name.startsWith("etcd-"));
  const isRemote = given.some(({ name }) => name === "remote");
  // A store on the command line is meant instead of the one in the environment, not besides it.
  const names = STORE_FLAGS.filter(
    (name) =>
      !((isEmbedded || isRemote) && name.startsWith("etcd-")) &&
      !((isEtcd || isRemote) && name === "embedded-store") &&
      !((isEtcd || isEmbedded) && name === "remote"),
  );
  const parsed = parseFlanneld(
    given.map(({ argument }) => argument),
    Object.fromEntries(names.map(variableOf).map((name) => [name, env[name]])),
  );
  if (parsed.kind === "exit") throw new InvalidConfigError("", parsed.stderr.trim().replaceAll(/^flanneld: /gm, ""));
  const { store, stateDir } = parsed.options;
  if (store.kind === "kubernetes") throw new InvalidConfigError("--kube-subnet-mgr", "is no store of leases");
  return { store, stateDir };
}

function variableOf(flag: string): string {
  return `FLANNELD_${flag.toUpperCase().replaceAll("-", "_")}`;
}
