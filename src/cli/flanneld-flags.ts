import { tryParseAddress } from "../ip/address.ts";
import { networkOf, type Prefix, parsePrefix } from "../ip/prefix.ts";
import type { NetworkName } from "../lease/lease.ts";
import type { Milliseconds } from "../lib/clock.ts";
import { describeError, InvalidConfigError } from "../lib/errors.ts";
import type { LogFields } from "../lib/logger.ts";
import type { FlavourChoice } from "../network/firewall/flavour.ts";
import type { FirewallPolicy } from "../network/firewall/wanted-chains.ts";
import { type InterfaceRules, parseInterfaceRules } from "../network/interface-rules.ts";
import type { HealthAddress } from "../operate/health-server.ts";
import { ETCD_FLAGS, FLANNELD_FLAGS } from "./flanneld-flag-table.ts";
import {
  type Environment,
  etcdOptions,
  isKube,
  type KubeStoreOptions,
  type ServerOptions,
  type StoreOptions,
  serverOptions,
  storeOptions,
} from "./flanneld-store-flags.ts";
import type { BadVariable, FlagValues } from "./go-flags.ts";
import { flagsFromEnvironment, formatFlags, parseGoFlags } from "./go-flags.ts";
import type { LogOptions } from "./log.ts";
import { versionLine } from "./version.ts";

/** What flanneld was asked to do: its command line and environment, read, checked and named. */
export interface FlanneldOptions {
  readonly store: StoreOptions | KubeStoreOptions;
  /** Serve leases instead of taking one. */
  readonly server: ServerOptions | undefined;
  /** Where containers' tools learn the subnet. */
  readonly subnetFile: string;
  /** Several networks, each with a subnet file of its own in `subnetDir`; none for the unnamed one. */
  readonly networks: readonly NetworkName[];
  /** Follow networks as they come and go: those in `networks`, or all if it is empty. */
  readonly watchNetworks: boolean;
  readonly subnetDir: string;
  /** What must outlive a reboot; not shared between daemons. */
  readonly stateDir: string;
  /** Which interface leads to the other hosts, and the address they reach us by. */
  readonly interfaces: InterfaceRules;
  /** How long before its end a lease is renewed. */
  readonly renewMargin: Milliseconds;
  /** How long a small process keeps what packets wait in for the next daemon. */
  readonly handoverTimeout: Milliseconds;
  /** Where to tell by HTTP how we are; undefined: nowhere. */
  readonly health: HealthAddress | undefined;
  readonly firewall: FirewallPolicy;
  /** Whether this host's settings are changed where packets need it. */
  readonly configureHost: boolean;
  readonly log: LogOptions;
}

export type ParsedFlanneld =
  | { readonly kind: "run"; readonly options: FlanneldOptions; readonly warnings: readonly Warning[] }
  | { readonly kind: "exit"; readonly code: number; readonly stderr: string };

/** A fact about the command line for the log. */
export interface Warning {
  readonly message: string;
  readonly fields: LogFields;
}

type Values = FlagValues<typeof FLANNELD_FLAGS>;

/** Seconds. What stays for longer would surprise whoever stopped flanneld for good. */
const LONGEST_HANDOVER = 3600;

const FLAVOURS: readonly string[] = ["auto", "nftables", "iptables", "none"] satisfies FlavourChoice[];

const USAGE = `Usage: flanneld [OPTION]...

Gives this host a subnet of the flannel network and the ways to all others. Every option can also be given as a variable:
--etcd-prefix as FLANNELD_ETCD_PREFIX; the command line wins.

${formatFlags(FLANNELD_FLAGS)}`;

/** What flanneld is to do, from its arguments (without program names) and environment. */
export function parseFlanneld(argv: readonly string[], env: Environment): ParsedFlanneld {
  const parsed = parseGoFlags(FLANNELD_FLAGS, argv);
  if (parsed.kind === "help") return exit(0, USAGE);
  if (parsed.kind === "error") return exit(2, `${parsed.message}\n${USAGE}`);
  if (parsed.positional.length > 0 || parsed.values.help) return exit(0, USAGE);
  if (parsed.values.version) return exit(0, `${versionLine}\n`);

  const { values, given, bad } = flagsFromEnvironment(FLANNELD_FLAGS, parsed, "FLANNELD", env);
  const wrong = [...conflicts(values, given), ...outOfRange(values, env)];
  if (wrong.length > 0) return exit(1, wrong.map((line) => `flanneld: ${line}\n`).join(""));
  return { kind: "run", options: options(values, env), warnings: [...bad.map(unreadable), ...withoutEffect(values)] };
}

function exit(code: number, stderr: string): ParsedFlanneld {
  return { kind: "exit", code, stderr };
}

function unreadable({ variable, text, reason }: BadVariable): Warning {
  return {
    message: "an environment variable cannot be read and is ignored",
    fields: { variable, value: text, reason },
  };
}

/** As in 0.7.0, a server wins. */
function withoutEffect(values: Values): Warning[] {
  if (values.remote === "" || !values["kube-subnet-mgr"]) return [];
  return [{ message: "--kube-subnet-mgr has no effect beside --remote", fields: {} }];
}

function conflicts(values: Values, given: ReadonlySet<string>): string[] {
  if (values.listen !== "" && values.remote !== "") return ["--listen and --remote are mutually exclusive"];
  if (values["embedded-store"] !== "" && values.remote !== "")
    return ["--embedded-store and --remote are mutually exclusive"];
  if (isKube(values)) {
    const others = (["embedded-store", "networks", "watch-networks"] as const).filter((name) => values[name]);
    if (others.length > 0) return others.map((name) => `--kube-subnet-mgr and --${name} are mutually exclusive`);
  }
  if (values["embedded-store"] === "") return [];
  return Object.keys(ETCD_FLAGS)
    .filter((name) => name.startsWith("etcd-") && given.has(name))
    .map((name) => `--embedded-store and --${name} are mutually exclusive`);
}

function outOfRange(values: Values, env: Environment): string[] {
  const wrong: string[] = [];
  const margin = values["subnet-lease-renew-margin"];
  if (margin < 1 || margin > 1439)
    wrong.push(`--subnet-lease-renew-margin is ${margin}, but must be 1 to 1439 minutes`);
  const handover = values["handover-timeout"];
  if (handover < 0 || handover > LONGEST_HANDOVER)
    wrong.push(`--handover-timeout is ${handover}, but must be 0 to ${LONGEST_HANDOVER} seconds`);
  const port = values["healthz-port"];
  if (port < 0 || port > 65_535) wrong.push(`--healthz-port is ${port}, but must be 0 to 65535`);
  if (tryParseAddress(values["healthz-ip"]) === undefined)
    wrong.push(`--healthz-ip is ${JSON.stringify(values["healthz-ip"])}, but must be an address, as 127.0.0.1`);
  if (!["2", "3", "auto"].includes(values["etcd-api"]))
    wrong.push(`--etcd-api is ${JSON.stringify(values["etcd-api"])}, but must be 2, 3 or auto`);
  if (!["text", "json"].includes(values["log-format"]))
    wrong.push(`--log-format is ${JSON.stringify(values["log-format"])}, but must be text or json`);
  for (const name of networkNames(values.networks))
    if (!/^[A-Za-z0-9_][\w.-]{0,200}$/.test(name) || name === "_")
      wrong.push(`--networks: no network can be called ${JSON.stringify(name)}: letters, digits, _, - and . only`);
  for (const name of ["subnet-file", "subnet-dir", "state-dir"] as const)
    if (values[name] === "") wrong.push(`--${name} must not be empty`);
  if (!["", "cn"].includes(values["remote-authz"]))
    wrong.push(`--remote-authz is ${JSON.stringify(values["remote-authz"])}, but must be cn or left out`);
  for (const name of ["remote-authz", "remote-admins"] as const)
    if (values[name] !== "" && (values["remote-cafile"] === "" || values["remote-certfile"] === ""))
      wrong.push(
        `--${name} goes by client certificates, and so needs --remote-cafile, --remote-certfile and --remote-keyfile`,
      );
  if (!FLAVOURS.includes(values.firewall))
    wrong.push(`--firewall is ${JSON.stringify(values.firewall)}, but must be auto, nftables, iptables or none`);
  const parsers = [interfaceRules, etcdOptions, storeOptions, excludedNetworks];
  for (const parse of [...parsers, ...(values.listen === "" ? [] : [serverOptions])])
    try {
      parse(values, env);
    } catch (error) {
      if (!(error instanceof InvalidConfigError)) throw error;
      if (!wrong.includes(error.message)) wrong.push(error.message);
    }
  return wrong;
}

function options(values: Values, env: Environment): FlanneldOptions {
  return {
    store: storeOptions(values, env),
    server: values.listen === "" ? undefined : serverOptions(values),
    subnetFile: values["subnet-file"],
    networks: networkNames(values.networks),
    watchNetworks: values["watch-networks"],
    subnetDir: values["subnet-dir"],
    stateDir: values["state-dir"],
    interfaces: interfaceRules(values),
    renewMargin: values["subnet-lease-renew-margin"] * 60_000,
    handoverTimeout: values["handover-timeout"] * 1_000,
    health: values["healthz-port"] === 0 ? undefined : { host: values["healthz-ip"], port: values["healthz-port"] },
    firewall: {
      flavour: values.firewall as FlavourChoice, // checked before
      masquerade: values["ip-masq"],
      excluded: excludedNetworks(values),
      clampMss: values["clamp-mss"],
      admission: values["underlay-admission"],
    },
    configureHost: values["configure-host"],
    log: { format: values["log-format"] === "json" ? "json" : "text", verbosity: values.v },
  };
}

function interfaceRules(values: Values): InterfaceRules {
  return parseInterfaceRules({
    ifaces: values.iface,
    patterns: values["iface-regex"],
    canReach: values["iface-can-reach"],
    publicIP: values["public-ip"],
    publicIPv6: values["public-ipv6"],
  });
}

/** @throws {InvalidConfigError} naming what is no network */
function excludedNetworks(values: Values): readonly Prefix[] {
  return values["ip-masq-exclude"].split(",").flatMap((item) => {
    const text = item.trim();
    if (text === "") return [];
    try {
      const { address, length } = parsePrefix(text);
      return networkOf(address, length);
    } catch (cause) {
      throw new InvalidConfigError("--ip-masq-exclude", describeError(cause), { cause });
    }
  });
}

/** As 0.7.0, empty items do not count. */
function networkNames(text: string): readonly NetworkName[] {
  return [...new Set(text.split(",").flatMap((name) => name.trim() || []))];
}
