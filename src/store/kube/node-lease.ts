import { type Address, type Family, formatAddress, isUnspecified, tryParseAddress } from "../../ip/address.ts";
import { isNetwork, type Prefix, parsePrefix } from "../../ip/prefix.ts";
import { shown } from "../../lease/json-fields.ts";
import type { Json, Lease, LeaseAttributes } from "../../lease/lease.ts";
import { InvalidConfigError } from "../../lib/errors.ts";
import type { AnnotationKeys } from "./annotation-keys.ts";
import type { NodeFacts } from "./node.ts";

/** A node's subnets. */
export interface NodeSubnets {
  readonly ipv4: Prefix | undefined;
  readonly ipv6: Prefix | undefined;
}

/** @throws {InvalidConfigError} naming the podCIDR that is none */
export function subnetsOf({ podCIDRs }: NodeFacts): NodeSubnets {
  const prefixes = podCIDRs.map(parsePodCidr);
  const find = (family: Family) => prefixes.find(({ address }) => address.family === family);
  return { ipv4: find(4), ipv6: find(6) };
}

function parsePodCidr(text: string): Prefix {
  try {
    const prefix = parsePrefix(text);
    if (isNetwork(prefix) && prefix.length > 0) return prefix;
  } catch {}
  throw new InvalidConfigError("spec.podCIDRs", `must be networks, as 10.244.1.0/24, not ${shown(text)}`);
}

/**
 * What a node's annotations say of its lease; undefined if it is not flannel's, or has no subnet of a family that it has an address of.
 * @param isOwn for our own node, what an administrator wrote over its public IPs counts; other nodes' flannels do that themselves
 * @throws {InvalidConfigError} naming the annotation and its value
 */
export function leaseOf(node: NodeFacts, isOwn = false): Lease | undefined {
  const { annotations, version: revision } = node;
  if (annotations.managed !== "true") return undefined;
  const { ipv4, ipv6 } = subnetsOf(node);
  if (ipv4 === undefined && ipv6 === undefined) return undefined;
  const publicIPv6 = publicIPv6Of(annotations, isOwn);
  const publicIP = publicIPOf(annotations, isOwn, publicIPv6 !== undefined);
  const data = json("backend-data", annotations.backendData);
  const v6Data = json("backend-v6-data", annotations.backendV6Data);
  const common = annotations.backendType ? { backendType: annotations.backendType } : {};
  if (ipv4 !== undefined && publicIP !== undefined) {
    const attributes = {
      publicIP,
      ...(publicIPv6 !== undefined && { publicIPv6 }),
      ...common,
      ...(data !== undefined && { backendData: data }),
      ...(v6Data !== undefined && { backendV6Data: v6Data }),
    };
    return { subnet: ipv4, ...(ipv6 && { ipv6Subnet: ipv6 }), attributes, isReservation: false, revision };
  }
  if (ipv6 === undefined || publicIPv6 === undefined) return undefined;
  const attributes = { publicIP: publicIPv6, ...common, ...(v6Data !== undefined && { backendData: v6Data }) };
  return { subnet: ipv6, attributes, isReservation: false, revision };
}

/** Undefined for a node of IPv6 alone, whose flannel writes none, or zeros. */
function publicIPOf(
  { publicIP, publicIPOverwrite }: NodeFacts["annotations"],
  isOwn: boolean,
  hasIPv6: boolean,
): Address | undefined {
  const written = isOwn ? (publicIPOverwrite ?? publicIP) : publicIP;
  if (written === undefined && hasIPv6) return undefined;
  const parsed = address("public-ip", written, 4);
  return isUnspecified(parsed) && hasIPv6 ? undefined : parsed;
}

function publicIPv6Of(
  { publicIPv6, publicIPv6Overwrite }: NodeFacts["annotations"],
  isOwn: boolean,
): Address | undefined {
  const written = isOwn ? (publicIPv6Overwrite ?? publicIPv6) : publicIPv6;
  if (!written) return undefined;
  const parsed = address("public-ipv6", written, 6);
  return isUnspecified(parsed) ? undefined : parsed;
}

function address(annotation: string, text: string | undefined, family: Family): Address {
  const parsed = text === undefined ? undefined : tryParseAddress(text);
  if (parsed?.family === family) return parsed;
  throw new InvalidConfigError(
    `annotation ${annotation}`,
    text === undefined ? "is missing" : `must be an IPv${family} address, not ${shown(text)}`,
  );
}

/** `null` is what flannels write where a backend has nothing to tell. */
function json(annotation: string, text: string | undefined): Json | undefined {
  if (text === undefined || text === "") return undefined;
  try {
    return (JSON.parse(text) as Json) ?? undefined;
  } catch {
    throw new InvalidConfigError(`annotation ${annotation}`, `must be JSON, not ${shown(text)}`);
  }
}

/** The annotations that these attributes are written as; null where there must be none. */
export function annotationsFor(attributes: LeaseAttributes): {
  readonly [Key in keyof AnnotationKeys]?: string | null;
} {
  const { publicIP, publicIPv6, backendType = "", backendData = null, backendV6Data = null } = attributes;
  const ipv4 = publicIP.family === 4 ? { publicIP, data: backendData } : undefined;
  const ipv6 = publicIP.family === 6 ? { publicIP, data: backendData } : publicIPv6 && { publicIP: publicIPv6, data: backendV6Data }; // biome-ignore format: one line
  return {
    managed: "true",
    backendType,
    backendData: ipv4 === undefined ? null : JSON.stringify(ipv4.data),
    publicIP: ipv4 === undefined ? null : formatAddress(ipv4.publicIP),
    backendV6Data: ipv6 === undefined ? null : JSON.stringify(ipv6.data),
    publicIPv6: ipv6 === undefined ? null : formatAddress(ipv6.publicIP),
  };
}

/** What of these annotations the node does not have yet, by their whole names; undefined if nothing. */
export function annotationChanges(
  node: NodeFacts,
  attributes: LeaseAttributes,
  keys: AnnotationKeys,
): Readonly<Record<string, string | null>> | undefined {
  const wanted = Object.entries(annotationsFor(attributes)) as [keyof AnnotationKeys, string | null][];
  const changes = wanted.filter(([field, value]) => (node.annotations[field] ?? null) !== value);
  if (changes.length === 0) return undefined;
  return Object.fromEntries(changes.map(([field, value]) => [keys[field], value]));
}
