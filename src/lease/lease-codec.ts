import { type Address, addressBits, formatAddress, isUnspecified, tryParseAddress } from "../ip/address.ts";
import { isNetwork, type Prefix } from "../ip/prefix.ts";
import { InvalidConfigError } from "../lib/errors.ts";
import { parseJson, shown } from "./json-fields.ts";
import type { Json, LeaseAttributes } from "./lease.ts";
import type { LeaseFormat } from "./subnet-manager.ts";

/** The subnets that a lease's key names. */
export interface LeaseSubnets {
  readonly subnet: Prefix;
  readonly ipv6Subnet?: Prefix;
}

/** What later releases write where there is no IPv4 subnet. */
const NO_IPV4 = "0.0.0.0-0";

/** The last part of a lease's key: `10.5.34.0-24`, of both families `10.5.34.0-24&fc00::-64`, of IPv6 alone `0.0.0.0-0&fc00::-64`. */
export function formatLeaseKey({ subnet, ipv6Subnet }: LeaseSubnets): string {
  if (subnet.address.family === 6) return `${NO_IPV4}&${keyPart(subnet)}`;
  return ipv6Subnet === undefined ? keyPart(subnet) : `${keyPart(subnet)}&${keyPart(ipv6Subnet)}`;
}

function keyPart(prefix: Prefix): string {
  return `${formatAddress(prefix.address)}-${prefix.length}`;
}

/** @throws {InvalidConfigError} if it names no subnet, saying why */
export function parseLeaseKey(key: string): LeaseSubnets {
  const ampersand = key.indexOf("&");
  const first = ampersand < 0 ? key : key.slice(0, ampersand);
  const subnet = parseKeyPart(first);
  if (subnet?.address.family !== 4 || (subnet.length === 0 && (ampersand < 0 || first !== NO_IPV4)))
    throw new InvalidConfigError(key, "is not the key of a lease, as 10.5.34.0-24");
  if (ampersand < 0) return { subnet };
  const ipv6Subnet = parseKeyPart(key.slice(ampersand + 1));
  if (ipv6Subnet?.address.family !== 6 || ipv6Subnet.length === 0)
    throw new InvalidConfigError(key, "names no IPv6 subnet after the &");
  return first === NO_IPV4 ? { subnet: ipv6Subnet } : { subnet, ipv6Subnet };
}

function parseKeyPart(text: string): Prefix | undefined {
  const dash = text.indexOf("-");
  const address = tryParseAddress(text.slice(0, Math.max(dash, 0)));
  if (address === undefined) return undefined;
  const length = parseLength(text, dash + 1);
  if (length === undefined || length > addressBits(address.family)) return undefined;
  const prefix = { address, length };
  if (!isNetwork(prefix)) return undefined;
  // Of several ways to write an IPv6 address only flannel's own is a key: we could not find our way back to another.
  return address.family === 4 || text.startsWith(`${formatAddress(address)}-`) ? prefix : undefined;
}

/** The digits from there to the end, without leading zeros; by hand, since a listing may hold fifty thousand of them. */
function parseLength(text: string, start: number): number | undefined {
  let length: number | undefined;
  for (let index = start; index < text.length; index++) {
    const digit = text.charCodeAt(index) - 48;
    if (digit < 0 || digit > 9 || length === 0) return undefined;
    length = (length ?? 0) * 10 + digit;
  }
  return length;
}

/** The exact text that this format's flannels write as a lease's value; flannels of 0.7 know no IPv6, and pass over it. */
export function formatAttributes(attributes: LeaseAttributes, format: LeaseFormat): string {
  const { backendType, owner } = attributes;
  const isIPv6Only = attributes.publicIP.family === 6;
  const publicIPv6 = isIPv6Only ? attributes.publicIP : attributes.publicIPv6;
  const backendData = isIPv6Only ? undefined : attributes.backendData;
  const backendV6Data = isIPv6Only ? attributes.backendData : attributes.backendV6Data;
  return JSON.stringify({
    PublicIP: isIPv6Only ? NO_ADDRESS : formatAddress(attributes.publicIP),
    ...(publicIPv6 !== undefined
      ? { PublicIPv6: formatAddress(publicIPv6) }
      : format === "later" && { PublicIPv6: null }),
    ...(backendType !== undefined && { BackendType: backendType }),
    ...(backendData !== undefined && { BackendData: backendData }),
    ...(backendV6Data !== undefined && { BackendV6Data: backendV6Data }),
    ...(owner !== undefined && { Owner: owner }),
  });
}

/** What later releases write where a host has no IPv4 address. */
const NO_ADDRESS = "0.0.0.0";

/** @throws {InvalidConfigError} naming the field and its value */
export function parseAttributes(text: string): LeaseAttributes {
  return attributesFromJson(parseJson(text));
}

type Fields = {
  PublicIP?: unknown;
  PublicIPv6?: unknown;
  BackendType?: unknown;
  BackendData?: unknown;
  BackendV6Data?: unknown;
  Owner?: unknown;
};
const FIELD_NAMES: readonly (keyof Fields)[] = [
  "PublicIP",
  "PublicIPv6",
  "BackendType",
  "BackendData",
  "BackendV6Data",
  "Owner",
];
const FIELDS = new Map(FIELD_NAMES.flatMap((name) => [[name, name] as const, [name.toLowerCase(), name] as const]));

/** The same from parsed JSON. Keys in any case, as Go reads them. @throws {InvalidConfigError} naming the field and its value */
export function attributesFromJson(value: unknown): LeaseAttributes {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new InvalidConfigError("", `it must be a JSON object, not ${shown(value)}`);
  const fields: Fields = {};
  for (const key of Object.keys(value)) {
    const field = FIELDS.get(key) ?? FIELDS.get(key.toLowerCase());
    const content = (value as Readonly<Record<string, unknown>>)[key];
    if (field !== undefined && content !== null) fields[field] = content;
  }
  const { BackendType: backendType } = fields;
  if (backendType !== undefined && typeof backendType !== "string")
    throw new InvalidConfigError("BackendType", `must be a string, not ${shown(backendType)}`);
  const publicIP = parseField("PublicIP", fields.PublicIP, 4);
  if (publicIP === undefined) throw new InvalidConfigError("PublicIP", "is missing");
  const publicIPv6 = parseField("PublicIPv6", fields.PublicIPv6, 6);
  const isIPv6Only = publicIPv6 !== undefined && !isUnspecified(publicIPv6) && isUnspecified(publicIP);
  const attributes: Writable<LeaseAttributes> = { publicIP: isIPv6Only ? publicIPv6 : publicIP };
  if (publicIPv6 !== undefined && !isIPv6Only) attributes.publicIPv6 = publicIPv6;
  if (backendType !== undefined && backendType !== "") attributes.backendType = backendType;
  const data = isIPv6Only ? fields.BackendV6Data : fields.BackendData;
  if (data !== undefined) attributes.backendData = data as Json;
  if (fields.BackendV6Data !== undefined && !isIPv6Only) attributes.backendV6Data = fields.BackendV6Data as Json;
  if (typeof fields.Owner === "string" && fields.Owner !== "") attributes.owner = fields.Owner;
  return attributes;
}

/** While it is being made. */
type Writable<T> = { -readonly [K in keyof T]: T[K] };

function parseField(field: string, value: unknown, family: 4 | 6): Address | undefined {
  if (value === undefined) return undefined;
  const address = typeof value === "string" ? tryParseAddress(value) : undefined;
  if (address?.family !== family)
    throw new InvalidConfigError(field, `must be an IPv${family} address, not ${shown(value)}`);
  return address;
}
