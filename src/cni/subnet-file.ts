import { formatPrefix, networkOf, type Prefix, parsePrefix } from "../ip/prefix.ts";
import { CNI_CODE, CniError } from "./cni-error.ts";

/** What a pod's network must know of `subnet.env`, by this version's flanneld or any other. */
export interface SubnetFile {
  /** All pods of all hosts: one network, or with later releases several, of both families; no duplicates. */
  readonly networks: readonly Prefix[];
  /** This host's share: one IPv4 subnet, one IPv6 subnet, or both in this order. Host bits are cleared. */
  readonly subnets: readonly Prefix[];
  /** Bytes left for a pod's packet. */
  readonly mtu: number;
  /** Whether flannel hides the pods' addresses, so that the delegate need not. */
  readonly ipMasq: boolean;
}

const FAMILIES = [
  { family: 4, network: "FLANNEL_NETWORK", subnet: "FLANNEL_SUBNET" },
  { family: 6, network: "FLANNEL_IPV6_NETWORK", subnet: "FLANNEL_IPV6_SUBNET" },
] as const;

/**
 * Unknown variables, blank lines and comments are passed over; values may be quoted, as a shell would read them.
 * @param path for messages
 * @throws {CniError} naming the file and the variable or line that makes no sense, or all that are missing
 */
export function parseSubnetFile(text: string, path: string): SubnetFile {
  const variables = parseVariables(text, path);
  const failure = (name: string, reason: string) =>
    new CniError(CNI_CODE.undecodable, `${path}: ${name} is ${JSON.stringify(variables.get(name))}: ${reason}`);
  const prefixes = (name: string, family: 4 | 6) =>
    (variables.get(name) ?? "")
      .split(",")
      .map((part) => part.trim())
      .filter((part) => part !== "")
      .map((part) => {
        const prefix = parsePart(part, (reason) => failure(name, reason));
        if (prefix.address.family !== family) throw failure(name, `IPv${family} is expected`);
        return networkOf(prefix.address, prefix.length);
      });
  const networks = FAMILIES.flatMap(({ network, family }) => prefixes(network, family));
  const subnets = FAMILIES.flatMap(({ subnet, family }) => {
    const found = prefixes(subnet, family);
    if (found.length > 1) throw failure(subnet, "a host has one subnet of a family");
    return found;
  });
  const mtu = variables.get("FLANNEL_MTU") ?? "";
  if (mtu !== "" && !/^[1-9]\d{0,6}$/.test(mtu)) throw failure("FLANNEL_MTU", "a number of bytes is expected");
  const ipMasq = variables.get("FLANNEL_IPMASQ") ?? "";
  if (!["", "true", "false"].includes(ipMasq)) throw failure("FLANNEL_IPMASQ", "true or false is expected");
  const missing = [
    ...(networks.length === 0 ? ["FLANNEL_NETWORK or FLANNEL_IPV6_NETWORK"] : []),
    ...(subnets.length === 0 ? ["FLANNEL_SUBNET or FLANNEL_IPV6_SUBNET"] : []),
    ...(mtu === "" ? ["FLANNEL_MTU"] : []),
    ...(ipMasq === "" ? ["FLANNEL_IPMASQ"] : []),
  ];
  if (missing.length > 0) throw new CniError(CNI_CODE.undecodable, `${path} is missing ${missing.join(", ")}`);
  return { networks: distinct(networks), subnets, mtu: Number(mtu), ipMasq: ipMasq === "true" };
}

/** The last assignment of a variable wins, as in a shell. A line of flannel's that assigns nothing is a file cut off while written. */
function parseVariables(text: string, path: string): ReadonlyMap<string, string> {
  const variables = new Map<string, string>();
  for (const [index, line] of text.split("\n").entries()) {
    const match = /^\s*(?:export\s+)?(\w+)=(["']?)(.*?)\2\s*$/.exec(line);
    if (match !== null) variables.set(match[1] ?? "", match[3] ?? "");
    else if (/^\s*(?:export\s+)?FLANNEL/.test(line))
      throw new CniError(
        CNI_CODE.undecodable,
        `${path}: line ${index + 1} is ${JSON.stringify(line)}: NAME=value is expected`,
      );
  }
  return variables;
}

function parsePart(text: string, failure: (reason: string) => CniError): Prefix {
  try {
    return parsePrefix(text);
  } catch (error) {
    throw failure(error instanceof Error ? error.message : String(error));
  }
}

function distinct(prefixes: readonly Prefix[]): readonly Prefix[] {
  return [...new Map(prefixes.map((prefix) => [formatPrefix(prefix), prefix])).values()];
}
