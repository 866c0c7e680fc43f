import { type Address, type Family, tryParseAddress } from "../ip/address.ts";
import { isNetwork, type Prefix, parsePrefix } from "../ip/prefix.ts";
import type { LeaseAttributes, NetworkName, Revision } from "../lease/lease.ts";
import { attributesFromJson, type LeaseSubnets, parseLeaseKey } from "../lease/lease-codec.ts";
import type { Reservation } from "../lease/subnet-manager.ts";
import type { Milliseconds } from "../lib/clock.ts";
import { InvalidConfigError } from "../lib/errors.ts";
import { type Dialect, NO_SUBNET, UNNAMED } from "./api-json.ts";
import { goSyntaxError } from "./go-json.ts";
import { HEADERS } from "./headers.ts";
import { RequestError } from "./request-error.ts";

/** What a handler is given of a request, and reads with the functions below. */
export interface ApiRequest {
  readonly signal: AbortSignal;
  readonly params: Readonly<Record<string, string>>;
  /** What stands after the question mark. */
  readonly query: string;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: string;
  /** The common name of the client's certificate. */
  readonly client: string | undefined;
}

/** The longest that a client may ask to wait at most, s; who does not ask waits for ever. */
const LONGEST_PATIENCE = 3_600;

const NETWORK_NAME = /^[A-Za-z0-9_][\w.-]{0,200}$/;

/** @throws {RequestError} 404 for what no network can be called */
export function networkOf({ params }: ApiRequest): NetworkName {
  const name = params["network"] ?? "";
  if (name === UNNAMED) return "";
  if (!NETWORK_NAME.test(name)) throw new RequestError(404, "404 page not found\n");
  return name;
}

/** @throws {RequestError} 400 with this text */
export function subnetOf({ params }: ApiRequest, text: string): Prefix {
  try {
    return parseLeaseKey(params["subnet"] ?? "").subnet;
  } catch (error) {
    if (error instanceof InvalidConfigError) throw new RequestError(400, text);
    throw error;
  }
}

/** As 0.7.0, an empty one counts. */
export function cursorOf({ query }: ApiRequest): string | undefined {
  const text = /(?:^|&)next=([^&]*)/.exec(query)?.[1];
  return text?.includes("%") ? (new URLSearchParams(query).get("next") ?? undefined) : text;
}

export function dialectOf({ headers }: ApiRequest): Dialect {
  return headers[HEADERS.client] === undefined ? "0.7" : "extended";
}

/** How long the client wants to be kept waiting at most. */
export function patienceOf({ headers }: ApiRequest): { readonly patience?: Milliseconds } {
  const seconds = Number(headers[HEADERS.patience]);
  return seconds >= 1 && seconds <= LONGEST_PATIENCE ? { patience: seconds * 1000 } : {};
}

/** The revision that the client believes a lease to have. @throws {RequestError} */
export function expectedRevision({ headers }: ApiRequest): Revision | undefined {
  const text = headers["if-match"];
  if (text === undefined) return undefined;
  const digits = typeof text === "string" ? /^"?(\d{1,19})"?$/.exec(text.trim())?.[1] : undefined;
  if (digits === undefined) throw new RequestError(400, "If-Match must be a revision, as an earlier ETag gave it");
  return BigInt(digits);
}

/** Subnets that the client held before, best first; what makes no sense is left out. */
export function previousSubnets({ headers }: ApiRequest): readonly Prefix[] {
  const text = headers[HEADERS.previous];
  if (typeof text !== "string") return [];
  return text.split(",").flatMap((part) => tryParsePrefix(part.trim()) ?? []);
}

function tryParsePrefix(text: string): Prefix | undefined {
  try {
    return parsePrefix(text);
  } catch {
    return undefined;
  }
}

/** @throws {RequestError} 400 as 0.7.0 says it */
export function attributesIn({ body }: ApiRequest): LeaseAttributes {
  return decoded(body, (json) => withoutOwner(attributesFromJson(json)));
}

/** The lease in the body of a PUT. */
export function leaseIn({ body }: ApiRequest): { readonly subnet: Prefix; readonly attributes: LeaseAttributes } {
  return decoded(body, (json) => ({
    subnet: subnetsField(json).subnet,
    attributes: withoutOwner(attributesFromJson(field(json, "Attrs"))),
  }));
}

/** Whose lease the client of a DELETE means; undefined if it does not say, as 0.7.0's never do. */
export function claimIn({ body }: ApiRequest): Address | undefined {
  if (body.trim() === "") return undefined;
  return decoded(body, (json) => attributesFromJson(field(json, "Attrs") ?? json).publicIP);
}

export function reservationIn({ body }: ApiRequest): Reservation {
  return decoded(body, (json) => {
    const text = field(json, "PublicIP");
    const publicIP = typeof text === "string" ? tryParseAddress(text) : undefined;
    const subnets = subnetsField(json);
    const { family } = subnets.subnet.address;
    if (publicIP?.family !== family) throw new InvalidConfigError("PublicIP", `must be an IPv${family} address`);
    return { ...subnets, publicIP };
  });
}

function withoutOwner({ owner: _notTheirsToSay, ...attributes }: LeaseAttributes): LeaseAttributes {
  return attributes;
}

function decoded<T>(body: string, read: (json: unknown) => T): T {
  try {
    const fault = goSyntaxError(body);
    // Go decodes the first value of a stream; an empty stream is its end.
    if (fault !== undefined) throw new InvalidConfigError("", body.trim() === "" ? "EOF" : fault);
    return read(JSON.parse(body));
  } catch (error) {
    if (!(error instanceof InvalidConfigError)) throw error;
    throw new RequestError(400, `JSON decoding error: ${error.message}`);
  }
}

/** In any case, as Go finds it. */
function field(json: unknown, name: string): unknown {
  if (typeof json !== "object" || json === null || Array.isArray(json)) return undefined;
  const key = Object.keys(json).find((each) => each.toLowerCase() === name.toLowerCase());
  return key === undefined ? undefined : (json as Readonly<Record<string, unknown>>)[key];
}

function subnetsField(json: unknown): LeaseSubnets {
  const ipv6 = field(json, "IPv6Subnet");
  const ipv6Subnet = ipv6 === undefined ? undefined : prefixOf("IPv6Subnet", ipv6, 6);
  const ipv4 = field(json, "Subnet");
  if (ipv6Subnet !== undefined && ipv4 === NO_SUBNET) return { subnet: ipv6Subnet };
  const subnet = prefixOf("Subnet", ipv4, 4);
  return ipv6Subnet === undefined ? { subnet } : { subnet, ipv6Subnet };
}

function prefixOf(name: string, text: unknown, family: Family): Prefix {
  const prefix = typeof text === "string" ? tryParsePrefix(text) : undefined;
  if (prefix?.address.family === family && prefix.length > 0 && isNetwork(prefix)) return prefix;
  const example = family === 4 ? "10.5.34.0/24" : "fd00:5:34::/64";
  throw new InvalidConfigError(name, `must be an IPv${family} subnet, as ${example}`);
}
