import * as v from "valibot";
import {
  type Address,
  addressBits,
  addToAddress,
  compareAddress,
  type Family,
  formatAddress,
  isLinkLocal,
  isLoopback,
  isMulticast,
  tryParseAddress,
} from "../ip/address.ts";
import { containsAddress, formatPrefix, lastAddress, networkOf, type Prefix, parsePrefix } from "../ip/prefix.ts";
import { InvalidConfigError } from "../lib/errors.ts";
import { integer, parseFields, parseJson, shown } from "./json-fields.ts";

/** The backend's name in lower case, and its options as they were written. */
export interface BackendConfig {
  readonly type: string;
  readonly options: Readonly<Record<string, unknown>>;
}

/** Where the subnets of one family are taken from: from `subnetMin` to `subnetMax`, the first addresses of the first and the last one. */
export interface SubnetRange {
  readonly network: Prefix;
  readonly subnetLength: number;
  readonly subnetMin: Address;
  readonly subnetMax: Address;
}

/** The config of one network, with defaults. Its own range is of IPv4, or of IPv6 where that is the only family. */
export interface NetworkConfig extends SubnetRange {
  /** The IPv6 range of a network that has both families. */
  readonly ipv6?: SubnetRange;
  readonly backend: BackendConfig;
  /** What an administrator should know, though the config works. */
  readonly warnings: readonly string[];
}

/** One range for each family of the network, IPv4 first. */
export function rangesOf(config: NetworkConfig): readonly SubnetRange[] {
  return config.ipv6 === undefined ? [config] : [config, config.ipv6];
}

const ConfigFields = v.object({
  Network: v.optional(v.string()),
  SubnetLen: v.optional(integer(0, 30)),
  SubnetMin: v.optional(v.string()),
  SubnetMax: v.optional(v.string()),
  Backend: v.optional(v.unknown()),
  EnableIPv4: v.optional(v.boolean(), true),
  EnableIPv6: v.optional(v.boolean(), false),
  IPv6Network: v.optional(v.string()),
  IPv6SubnetLen: v.optional(integer(0, 126)),
  IPv6SubnetMin: v.optional(v.string()),
  IPv6SubnetMax: v.optional(v.string()),
});
const BackendFields = v.object({ Type: v.optional(v.string(), "udp") });

/**
 * The JSON text at `<prefix>/config`. Defaults are those of 0.7.0, for IPv6 those of later releases.
 * @throws {InvalidConfigError} naming the field, its value and what it should be
 */
export function parseNetworkConfig(text: string): NetworkConfig {
  const fields = parseFields(ConfigFields, parseJson(text), "");
  const warnings: string[] = [];
  if (!fields.EnableIPv4 && !fields.EnableIPv6)
    throw new InvalidConfigError("EnableIPv4", "must not be false where EnableIPv6 is not true: no family is left");
  if (fields.IPv6Network !== undefined && !fields.EnableIPv6)
    warnings.push("IPv6Network is ignored, since EnableIPv6 is not true");
  const ipv4 = fields.EnableIPv4 ? parseRange(IPV4, fields, warnings) : undefined;
  const ipv6 = fields.EnableIPv6 ? parseRange(IPV6, fields, warnings) : undefined;
  const [own, second] = [ipv4, ipv6].filter((range) => range !== undefined);
  if (own === undefined) throw new Error("a network without a family");
  const backend = parseBackend(fields.Backend ?? {});
  return { ...own, ...(second !== undefined && { ipv6: second }), backend, warnings };
}

function parseBackend(json: unknown): BackendConfig {
  const { Type } = parseFields(BackendFields, json, "Backend");
  return { type: Type.toLowerCase() || "udp", options: { ...(json as Readonly<Record<string, unknown>>) } };
}

/** What differs from family to family. */
interface RangeKind {
  readonly family: Family;
  /** `IPv6` before the names of the family's fields, or nothing. */
  readonly prefix: "" | "IPv6";
  readonly zeros: string;
  /** A host needs two bits: for its bridge, and for containers. */
  readonly longestSubnet: number;
  readonly defaultLength: (network: Prefix, warnings: string[]) => number;
}

const IPV4: RangeKind = {
  family: 4,
  prefix: "",
  zeros: "0.0.0.0",
  longestSubnet: 30,
  defaultLength(network, warnings) {
    const length = network.length < 24 ? 24 : network.length + 1;
    const inLaterReleases = network.length <= 22 ? 24 : network.length + 2;
    if (length !== inLaterReleases)
      warnings.push(
        `SubnetLen is not given: /${length} is used, as in flannel 0.7; releases since 0.20 would use /${inLaterReleases}. Set SubnetLen where both run`,
      );
    return length;
  },
};

const IPV6: RangeKind = {
  family: 6,
  prefix: "IPv6",
  zeros: "::",
  longestSubnet: 126,
  defaultLength: (network) => (network.length <= 62 ? 64 : network.length + 2),
};

type RangeFields = v.InferOutput<typeof ConfigFields>;

function parseRange(kind: RangeKind, fields: RangeFields, warnings: string[]): SubnetRange {
  const { prefix, longestSubnet } = kind;
  const network = parseNetwork(kind, fields[`${prefix}Network`]);
  const subnetLength = fields[`${prefix}SubnetLen`] || kind.defaultLength(network, warnings);
  if (subnetLength > longestSubnet)
    throw new InvalidConfigError(
      `${prefix}SubnetLen`,
      `a ${prefix}Network of /${network.length} leaves no room for subnets of at most /${longestSubnet}: ${formatPrefix(network)}`,
    );
  if (subnetLength < network.length)
    throw new InvalidConfigError(
      `${prefix}SubnetLen`,
      `${subnetLength} is a larger network than ${prefix}Network ${formatPrefix(network)}`,
    );
  const given = { min: fields[`${prefix}SubnetMin`], max: fields[`${prefix}SubnetMax`] };
  return { network, subnetLength, ...subnetRange(kind, network, subnetLength, given, warnings) };
}

function parseNetwork({ family, prefix }: RangeKind, text: string | undefined): Prefix {
  const field = `${prefix}Network`;
  if (text === undefined) throw new InvalidConfigError(field, "is missing");
  let network: Prefix;
  try {
    network = parsePrefix(text.slice(0, 60)); // none is that long; the message need not be either
  } catch (error) {
    throw new InvalidConfigError(field, error instanceof Error ? error.message : String(error));
  }
  if (network.address.family !== family)
    throw new InvalidConfigError(field, `must be an IPv${family} network, not ${shown(text)}`);
  if (network.length === 0) throw new InvalidConfigError(field, `must not be the whole Internet: ${shown(text)}`);
  if (isLoopback(network.address) || isMulticast(network.address) || (family === 6 && isLinkLocal(network.address)))
    throw new InvalidConfigError(field, `no host can have an address in ${shown(text)}`);
  return networkOf(network.address, network.length);
}

function subnetRange(
  kind: RangeKind,
  network: Prefix,
  length: number,
  { min, max }: { readonly min: string | undefined; readonly max: string | undefined },
  warnings: string[],
): Pick<SubnetRange, "subnetMin" | "subnetMax"> {
  const fieldMin = `${kind.prefix}SubnetMin`;
  const fieldMax = `${kind.prefix}SubnetMax`;
  const size = 1n << BigInt(addressBits(kind.family) - length);
  const lastSubnet = networkOf(lastAddress(network), length).address;
  // The first subnet holds the network's own address, which some programs refuse to use; every flannel skips it.
  const firstSubnet = length === network.length ? network.address : addToAddress(network.address, size);
  const given = { min: rangeEnd(kind, fieldMin, min, network), max: rangeEnd(kind, fieldMax, max, network) };
  const subnetMin = given.min === undefined ? firstSubnet : (roundUp(given.min, length, size) ?? given.min);
  const subnetMax = given.max === undefined ? lastSubnet : networkOf(given.max, length).address;
  if (given.min !== undefined && compareAddress(given.min, subnetMin) !== 0)
    warnings.push(
      `${fieldMin} ${formatAddress(given.min)} is not the first address of a /${length}: ${formatAddress(subnetMin)} is used`,
    );
  if (given.max !== undefined && compareAddress(given.max, subnetMax) !== 0)
    warnings.push(
      `${fieldMax} ${formatAddress(given.max)} is not the first address of a /${length}: ${formatAddress(subnetMax)} is used`,
    );
  if (compareAddress(subnetMin, subnetMax) > 0)
    throw new InvalidConfigError(
      fieldMin,
      `no /${length} lies between ${fieldMin} ${formatAddress(given.min ?? subnetMin)} and ${fieldMax} ${formatAddress(given.max ?? subnetMax)}`,
    );
  return { subnetMin, subnetMax };
}

function rangeEnd(
  { family, prefix, zeros }: RangeKind,
  field: string,
  text: string | undefined,
  network: Prefix,
): Address | undefined {
  if (text === undefined || text === zeros) return undefined; // in every flannel zeros mean the default
  const address = tryParseAddress(text);
  if (address === undefined) throw new InvalidConfigError(field, `must be an IPv${family} address, not ${shown(text)}`);
  if (address.family !== family)
    throw new InvalidConfigError(
      field,
      `must be an IPv${family} address, not the IPv${address.family} address ${shown(text)}`,
    );
  if (!containsAddress(network, address))
    throw new InvalidConfigError(field, `${text} is not in the range of the ${prefix}Network ${formatPrefix(network)}`);
  return address;
}

/** The first address of the first subnet that begins there or later; undefined if the address space ends before. */
function roundUp(address: Address, length: number, size: bigint): Address | undefined {
  const { value } = networkOf(address, length).address;
  const up = value === address.value ? value : value + size;
  return up >> BigInt(addressBits(address.family)) === 0n ? { family: address.family, value: up } : undefined;
}
