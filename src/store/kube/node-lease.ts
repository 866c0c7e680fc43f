import { formatAddress, tryParseAddress } from "../../ip/address.ts";
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
  const find = (family: 4 | 6) => prefixes.find(({ address }) => address.family === family);
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
 * What a node's annotations say of its lease; undefined if it is not flannel's, or has no IPv4 overlay.
 * @param isOwn for our own node, what an administrator wrote over its public IP counts; other nodes' flannels do that themselves
 * @throws {InvalidConfigError} naming the annotation and its value
 */
export function leaseOf(node: NodeFacts, isOwn = false): Lease | undefined {
  const { annotations, version: revision } = node;
  if (annotations.managed !== "true") return undefined;
  const { ipv4: subnet, ipv6: ipv6Subnet } = subnetsOf(node);
  if (subnet === undefined) return undefined;
  if (annotations.publicIP === undefined && annotations.publicIPv6 !== undefined) return undefined;
  const attributes = attributesOf(annotations, isOwn);
  return { subnet, ...(ipv6Subnet !== undefined && { ipv6Subnet }), attributes, isReservation: false, revision };
}

function attributesOf(annotations: NodeFacts["annotations"], isOwn: boolean): LeaseAttributes {
  const written = isOwn ? (annotations.publicIPOverwrite ?? annotations.publicIP) : annotations.publicIP;
  const publicIPv6 = annotations.publicIPv6 ? address("public-ipv6", annotations.publicIPv6, 6) : undefined;
  const backendData = json("backend-data", annotations.backendData);
  const backendV6Data = json("backend-v6-data", annotations.backendV6Data);
  return {
    publicIP: address("public-ip", written, 4),
    ...(publicIPv6 !== undefined && { publicIPv6 }),
    ...(annotations.backendType && { backendType: annotations.backendType }),
    ...(backendData !== undefined && { backendData }),
    ...(backendV6Data !== undefined && { backendV6Data }),
  };
}

function address(annotation: string, text: string | undefined, family: 4 | 6) {
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
  const { publicIP, publicIPv6, backendType = "", backendData = null, backendV6Data } = attributes;
  return {
    managed: "true",
    backendType,
    backendData: JSON.stringify(backendData),
    publicIP: formatAddress(publicIP),
    backendV6Data: backendV6Data === undefined ? null : JSON.stringify(backendV6Data),
    publicIPv6: publicIPv6 === undefined ? null : formatAddress(publicIPv6),
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
