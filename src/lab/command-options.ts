import { resolve } from "node:path";
import type { Argv } from "yargs";
import { InvalidConfigError } from "../lib/errors.ts";
import type { LabOptions } from "./lab.ts";

/** What `lab up` and `lab demo` ask for. */
export interface UpArguments {
  readonly hosts: number;
  readonly backend: string;
  readonly store: "embedded" | "etcd2" | "etcd3" | "server";
  readonly network: string;
  readonly pods: number;
  readonly mtu: number;
  readonly ipv6: string | undefined;
  readonly name: string | undefined;
  readonly flag: readonly string[];
  readonly flanneld: string | undefined;
}

export function upOptions(yargs: Argv): Argv<UpArguments> {
  return yargs
    .option("hosts", { type: "number", default: 3, describe: "how many hosts" })
    .option("backend", {
      type: "string",
      default: "vxlan",
      describe: "its type, or the Backend object of the config as JSON",
    })
    .option("store", {
      choices: ["embedded", "etcd2", "etcd3", "server"] as const,
      default: "embedded" as const,
      describe: "where leases are kept",
    })
    .option("network", { type: "string", default: "10.5.0.0/16", describe: "the network of all pods" })
    .option("pods", { type: "number", default: 1, describe: "how many per host" })
    .option("mtu", { type: "number", default: 1500, describe: "of the hosts' own network" })
    .option("ipv6", {
      type: "string",
      describe: "hosts and pods of both families; --ipv6=only: pods of IPv6 alone",
    })
    .option("name", { type: "string", describe: "of the lab" })
    .option("flag", {
      type: "string",
      array: true,
      default: [],
      describe: "one more flag for every flanneld, as --flag=-v=1",
    })
    .option("flanneld", { type: "string", describe: "another program in flanneld's place" });
}

/** @throws {InvalidConfigError} naming the option */
export function labOptions(args: UpArguments): Omit<LabOptions, "signal"> {
  return {
    ...(args.name === undefined ? {} : { name: args.name }),
    hosts: count("hosts", args.hosts, 1),
    backend: parseBackend(args.backend),
    store: args.store,
    network: args.network,
    pods: count("pods", args.pods, 0),
    mtu: count("mtu", args.mtu, 576),
    ipv6: parseFamilies(args.ipv6),
    flags: args.flag,
    ...(args.flanneld === undefined ? {} : { flanneld: [resolve(args.flanneld)] }),
  };
}

function count(option: string, value: number, least: number): number {
  if (!Number.isSafeInteger(value) || value < least)
    throw new InvalidConfigError(`--${option}`, `not a whole number of at least ${least}: ${value}`);
  return value;
}

function parseFamilies(text: string | undefined): LabOptions["ipv6"] {
  if (text === undefined) return undefined;
  if (text === "" || text === "too") return "too";
  if (text === "only") return "only";
  throw new InvalidConfigError("--ipv6", `must be "too", the default, or "only", not ${JSON.stringify(text)}`);
}

/** `vxlan`, or `{"Type":"vxlan","VNI":7}`. */
export function parseBackend(text: string): NonNullable<LabOptions["backend"]> {
  if (!text.trimStart().startsWith("{")) return text;
  let value: { readonly [key: string]: unknown };
  try {
    value = JSON.parse(text) as typeof value;
  } catch (error) {
    throw new InvalidConfigError("--backend", `not JSON: ${text}`, { cause: error });
  }
  const type = value["Type"];
  if (typeof type !== "string") throw new InvalidConfigError("--backend", `has no "Type": ${text}`);
  return { ...value, Type: type };
}
