import { type Address, formatAddress, tryParseAddress } from "../ip/address.ts";
import { isNetwork, type Prefix } from "../ip/prefix.ts";
import { InvalidConfigError } from "../lib/errors.ts";
import type { Json, LeaseAttributes } from "./lease.ts";
import type { LeaseFormat } from "./subnet-manager.ts";

/** The subnets that a lease's key names. */
export interface LeaseSubnets {
  readonly subnet: Prefix;
  readonly ipv6Subnet?: Prefix;
}

/** The last part of a lease's key: `10.5.34.0-24`, in dual-stack networks of later releases `10.5.34.0-24&fc00::-64`. */
export function formatLeaseKey({ subnet, ipv6Subnet }: LeaseSubnets): string {
  const part = (prefix: Prefix) => `${formatAddress(prefix.address)}-${prefix.length}`;
  return ipv6Subnet === undefined ? part(subnet) : `${part(subnet)}&${part(ipv6Subnet)}`;
}

/** @throws {InvalidConfigError} if it names no IPv4 subnet, saying why */
export function parseLeaseKey(key: string): LeaseSubnets {
  const [first = "", second, ...rest] = key.split("&");
  const subnet = parseKeyPart(first);
  if (rest.length > 0 || subnet?.address.family !== 4 || subnet.length === 0)
    throw new InvalidConfigError(key, "is not the key of a lease, as 10.5.34.0-24");
  if (second === undefined) return { subnet };
  const ipv6Subnet = parseKeyPart(second);
  if (ipv6Subnet?.address.family !== 6) throw new InvalidConfigError(key, "names no IPv6 subnet after the &");
  return { subnet, ipv6Subnet };
}

function parseKeyPart(text: string): Prefix | undefined {
  const match = /^([0-9a-fA-F.:]+)-(\d{1,3})$/.exec(text);
  const address = tryParseAddress(match?.[1] ?? "");
  const length = Number(match?.[2]);
  if (address === undefined || length > (address.family === 4 ? 32 : 128)) return undefined;
  const prefix = { address, length };
  return isNetwork(prefix) ? prefix : undefined;
}

/** The exact text that this format's flannels write as a lease's value. */
export function formatAttributes(attributes: LeaseAttributes, format: LeaseFormat): string {
  const text = (address: Address | undefined) => (address === undefined ? null : formatAddress(address));
  return JSON.stringify({
    PublicIP: text(attributes.publicIP),
    ...(format === "later" && { PublicIPv6: text(attributes.publicIPv6) }),
    ...(attributes.backendType !== undefined && { BackendType: attributes.backendType }),
    ...(attributes.backendData !== undefined && { BackendData: attributes.backendData }),
    ...(attributes.backendV6Data !== undefined && { BackendV6Data: attributes.backendV6Data }),
  });
}

/** @throws {InvalidConfigError} naming the field and its value */
export function parseAttributes(text: string): LeaseAttributes {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new InvalidConfigError("", `is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  return attributesFromJson(value);
}

/** The same from parsed JSON. Keys in any case, as Go reads them. @throws {InvalidConfigError} naming the field and its value */
export function attributesFromJson(value: unknown): LeaseAttributes {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new InvalidConfigError("", `must be a JSON object, not ${JSON.stringify(value)}`);
  const fields: Record<string, unknown> = {};
  for (const [key, field] of Object.entries(value)) if (field !== null) fields[key.toLowerCase()] = field;
  const { backendtype: backendType } = fields;
  if (backendType !== undefined && typeof backendType !== "string")
    throw new InvalidConfigError("BackendType", `must be a string, not ${JSON.stringify(backendType)}`);
  const publicIP = parseField("PublicIP", fields["publicip"], 4);
  if (publicIP === undefined) throw new InvalidConfigError("PublicIP", "is missing");
  const publicIPv6 = parseField("PublicIPv6", fields["publicipv6"], 6);
  return {
    publicIP,
    ...(publicIPv6 !== undefined && { publicIPv6 }),
    ...(backendType !== undefined && backendType !== "" && { backendType }),
    ...(fields["backenddata"] !== undefined && { backendData: fields["backenddata"] as Json }),
    ...(fields["backendv6data"] !== undefined && { backendV6Data: fields["backendv6data"] as Json }),
  };
}

function parseField(field: string, value: unknown, family: 4 | 6): Address | undefined {
  if (value === undefined) return undefined;
  const address = typeof value === "string" ? tryParseAddress(value) : undefined;
  if (address?.family !== family)
    throw new InvalidConfigError(field, `must be an IPv${family} address, not ${JSON.stringify(value)}`);
  return address;
}
