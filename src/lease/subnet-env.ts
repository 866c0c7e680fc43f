import { formatPrefix, type Prefix, parsePrefix } from "../ip/prefix.ts";
import { InvalidConfigError } from "../lib/errors.ts";

/** What a container runtime on this host has to know: the contents of `/run/flannel/subnet.env`. */
export interface SubnetEnv extends EnvRange {
  /** The second family's, where the network has both. */
  readonly ipv6?: EnvRange | undefined;
  /** Bytes left for a container's packet. */
  readonly mtu: number;
  /** Whether flannel hides the containers' addresses from the outside world. */
  readonly ipMasq: boolean;
}

/** One family of a network on this host. */
export interface EnvRange {
  readonly network: Prefix;
  /** The bridge's address: the first usable one of this host's subnet, with the subnet's length. */
  readonly subnet: Prefix;
}

/** Without IPv6 exactly four lines in 0.7.0's order, else in that of later releases: other programs source this file as shell variables. */
export function formatSubnetEnv(env: SubnetEnv): string {
  return [
    ...formatRange(env),
    ...(env.ipv6 === undefined ? [] : formatRange(env.ipv6)),
    `FLANNEL_MTU=${env.mtu}`,
    `FLANNEL_IPMASQ=${env.ipMasq}`,
    "",
  ].join("\n");
}

function formatRange({ network, subnet }: EnvRange): readonly string[] {
  const family = subnet.address.family === 4 ? "" : "IPV6_";
  return [`FLANNEL_${family}NETWORK=${formatPrefix(network)}`, `FLANNEL_${family}SUBNET=${formatPrefix(subnet)}`];
}

/**
 * Ignores unknown variables, blank lines and comments, since later releases write more; values may be quoted.
 * @throws {InvalidConfigError} naming the variable that is missing or makes no sense
 */
export function parseSubnetEnv(text: string): SubnetEnv {
  const variables = new Map(text.split("\n").flatMap(parseAssignment));
  const required = <T>(name: string, parse: (value: string) => T): T => {
    const value = variables.get(name);
    if (value === undefined) throw new InvalidConfigError(name, "missing");
    try {
      return parse(value);
    } catch (error) {
      throw new InvalidConfigError(name, error instanceof Error ? error.message : String(error), { cause: error });
    }
  };
  const range = (family: "" | "IPV6_"): EnvRange => ({
    network: required(`FLANNEL_${family}NETWORK`, parsePrefix),
    subnet: required(`FLANNEL_${family}SUBNET`, parsePrefix),
  });
  const ipv6 = variables.has("FLANNEL_IPV6_SUBNET") ? range("IPV6_") : undefined;
  const isIPv6Only = ipv6 !== undefined && !variables.has("FLANNEL_SUBNET");
  return {
    ...(isIPv6Only ? ipv6 : range("")),
    ...(ipv6 !== undefined && !isIPv6Only && { ipv6 }),
    mtu: required("FLANNEL_MTU", parseMtu),
    ipMasq: required("FLANNEL_IPMASQ", parseClaim),
  };
}

function parseAssignment(line: string): [name: string, value: string][] {
  const match = /^\s*(?:export\s+)?(\w+)=(["']?)(.*?)\2\s*$/.exec(line);
  return match === null ? [] : [[match[1] ?? "", match[3] ?? ""]];
}

function parseMtu(value: string): number {
  if (!/^[1-9]\d{0,9}$/.test(value)) throw new SyntaxError(`not a number of bytes: ${JSON.stringify(value)}`);
  return Number(value);
}

function parseClaim(value: string): boolean {
  if (value !== "true" && value !== "false") throw new SyntaxError(`neither true nor false: ${JSON.stringify(value)}`);
  return value === "true";
}
