import * as v from "valibot";
import {
  type Address,
  addressBits,
  addToAddress,
  compareAddress,
  formatAddress,
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

/** The config of one network, with defaults. Subnets are taken from `subnetMin` to `subnetMax`, the first addresses of the first and the last one. */
export interface NetworkConfig {
  readonly network: Prefix;
  readonly subnetLength: number;
  readonly subnetMin: Address;
  readonly subnetMax: Address;
  readonly backend: BackendConfig;
  /** What an administrator should know, though the config works. */
  readonly warnings: readonly string[];
}

const ConfigFields = v.object({
  Network: v.string(),
  SubnetLen: v.optional(integer(0, 30)),
  SubnetMin: v.optional(v.string()),
  SubnetMax: v.optional(v.string()),
  Backend: v.optional(v.unknown()),
  EnableIPv4: v.optional(v.boolean(), true),
  EnableIPv6: v.optional(v.boolean(), false),
});
const BackendFields = v.object({ Type: v.optional(v.string(), "udp") });

/**
 * The JSON text at `<prefix>/config`. Defaults are those of 0.7.0.
 * @throws {InvalidConfigError} naming the field, its value and what it should be
 */
export function parseNetworkConfig(text: string): NetworkConfig {
  const fields = parseFields(ConfigFields, parseJson(text), "");
  const warnings: string[] = [];
  if (!fields.EnableIPv4)
    throw new InvalidConfigError("EnableIPv4", "must not be false: this build has IPv4 overlays only");
  if (fields.EnableIPv6) warnings.push("EnableIPv6 is ignored: this build has IPv4 overlays only");
  const network = parseNetwork(fields.Network);
  const subnetLength = fields.SubnetLen || defaultSubnetLength(network, warnings);
  if (subnetLength > 30)
    throw new InvalidConfigError(
      "SubnetLen",
      `a Network of /${network.length} leaves no room for subnets of at most /30: ${formatPrefix(network)}`,
    );
  if (subnetLength < network.length)
    throw new InvalidConfigError(
      "SubnetLen",
      `${subnetLength} is a larger network than Network ${formatPrefix(network)}`,
    );
  const range = subnetRange(network, subnetLength, fields.SubnetMin, fields.SubnetMax, warnings);
  return { network, subnetLength, ...range, backend: parseBackend(fields.Backend ?? {}), warnings };
}

function parseBackend(json: unknown): BackendConfig {
  const { Type } = parseFields(BackendFields, json, "Backend");
  return { type: Type.toLowerCase() || "udp", options: { ...(json as Readonly<Record<string, unknown>>) } };
}

function parseNetwork(text: string): Prefix {
  let prefix: Prefix;
  try {
    prefix = parsePrefix(text.slice(0, 60)); // none is that long; the message need not be either
  } catch (error) {
    throw new InvalidConfigError("Network", error instanceof Error ? error.message : String(error));
  }
  if (prefix.address.family !== 4)
    throw new InvalidConfigError("Network", `must be an IPv4 network, not ${shown(text)}`);
  if (prefix.length === 0) throw new InvalidConfigError("Network", `must not be the whole Internet: ${shown(text)}`);
  if (isLoopback(prefix.address) || isMulticast(prefix.address))
    throw new InvalidConfigError("Network", `no host can have an address in ${shown(text)}`);
  return networkOf(prefix.address, prefix.length);
}

function defaultSubnetLength(network: Prefix, warnings: string[]): number {
  const length = network.length < 24 ? 24 : network.length + 1;
  const inLaterReleases = network.length <= 22 ? 24 : network.length + 2;
  if (length !== inLaterReleases)
    warnings.push(
      `SubnetLen is not given: /${length} is used, as in flannel 0.7; releases since 0.20 would use /${inLaterReleases}. Set SubnetLen where both run`,
    );
  return length;
}

function subnetRange(
  network: Prefix,
  length: number,
  min: string | undefined,
  max: string | undefined,
  warnings: string[],
) {
  const size = 1n << BigInt(addressBits(network.address.family) - length);
  const lastSubnet = networkOf(lastAddress(network), length).address;
  // The first subnet holds the network's own address, which some programs refuse to use; 0.7.0 skips it too.
  const firstSubnet = length === network.length ? network.address : addToAddress(network.address, size);
  const given = { min: rangeEnd("SubnetMin", min, network), max: rangeEnd("SubnetMax", max, network) };
  const subnetMin = given.min === undefined ? firstSubnet : (roundUp(given.min, length, size) ?? given.min);
  const subnetMax = given.max === undefined ? lastSubnet : networkOf(given.max, length).address;
  if (given.min !== undefined && compareAddress(given.min, subnetMin) !== 0)
    warnings.push(
      `SubnetMin ${formatAddress(given.min)} is not the first address of a /${length}: ${formatAddress(subnetMin)} is used`,
    );
  if (given.max !== undefined && compareAddress(given.max, subnetMax) !== 0)
    warnings.push(
      `SubnetMax ${formatAddress(given.max)} is not the first address of a /${length}: ${formatAddress(subnetMax)} is used`,
    );
  if (compareAddress(subnetMin, subnetMax) > 0)
    throw new InvalidConfigError(
      "SubnetMin",
      `no /${length} lies between SubnetMin ${formatAddress(given.min ?? subnetMin)} and SubnetMax ${formatAddress(given.max ?? subnetMax)}`,
    );
  return { subnetMin, subnetMax };
}

function rangeEnd(field: string, text: string | undefined, network: Prefix): Address | undefined {
  if (text === undefined || text === "0.0.0.0") return undefined; // in 0.7.0, too, zeros mean the default
  const address = tryParseAddress(text);
  if (address === undefined) throw new InvalidConfigError(field, `must be an IPv4 address, not ${shown(text)}`);
  if (address.family !== 4)
    throw new InvalidConfigError(field, `must be an IPv4 address, not the IPv6 address ${shown(text)}`);
  if (!containsAddress(network, address))
    throw new InvalidConfigError(field, `${text} is not in the range of the Network ${formatPrefix(network)}`);
  return address;
}

/** The first address of the first subnet that begins there or later; undefined if the address space ends before. */
function roundUp(address: Address, length: number, size: bigint): Address | undefined {
  const { value } = networkOf(address, length).address;
  const up = value === address.value ? value : value + size;
  return up >> BigInt(addressBits(address.family)) === 0n ? { family: address.family, value: up } : undefined;
}
