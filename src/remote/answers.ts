import { tryParseAddress } from "../ip/address.ts";
import { formatPrefix, type Prefix, parsePrefix } from "../ip/prefix.ts";
import {
  ConfigNotFoundError,
  LeaseLostError,
  LeaseTakenError,
  OutOfSubnetsError,
  StoreRefusedError,
  StoreUnavailableError,
} from "../lease/errors.ts";
import type { LeaseAttributes } from "../lease/lease.ts";
import { attributesFromJson, type LeaseSubnets } from "../lease/lease-codec.ts";
import type { NetworkEvent, NetworkUpdate } from "../lease/network-directory.ts";
import type { Reservation } from "../lease/subnet-manager.ts";
import { describeError, InvalidConfigError, UnsupportedError } from "../lib/errors.ts";
import { NO_SUBNET } from "./api-json.ts";
import { GO_ZERO_TIME } from "./go-json.ts";
import { HEADERS } from "./headers.ts";
import type { HttpAnswer } from "./http-client.ts";

/** A lease as a server tells it. */
export interface ToldLease {
  readonly subnet: Prefix;
  readonly ipv6Subnet?: Prefix;
  readonly attributes: LeaseAttributes;
  /** Undefined for a reservation. */
  readonly expiration: Date | undefined;
  /** As it was written. */
  readonly text: () => string;
  /** Only in the extended dialect. */
  readonly revision: bigint | undefined;
}

export type ToldEvent =
  | { readonly type: "added"; readonly lease: ToldLease }
  | { readonly type: "removed"; readonly subnet: Prefix };

/** The answer to a watch. */
export interface ToldChanges {
  readonly snapshot: readonly ToldLease[] | undefined;
  readonly events: readonly ToldEvent[];
  /** Decimal. */
  readonly cursor: string;
  /** What made no sense in it. */
  readonly complaints: readonly string[];
}

/** @throws {StoreUnavailableError} if it is no JSON object */
export function readJson({ endpoint, body }: HttpAnswer): Readonly<Record<string, unknown>> {
  try {
    const json: unknown = JSON.parse(body);
    if (isRecord(json)) return json;
  } catch {} // told below
  throw new StoreUnavailableError(endpoint, `answered with what is no flannel server's JSON: ${excerpt(body)}`);
}

/** @throws {StoreUnavailableError} if it is no answer to a watch */
export function readChanges(answer: HttpAnswer): ToldChanges {
  const json = readJson(answer);
  const { cursor, snapshot, events } = json;
  if (typeof cursor !== "string" || !/^\d{1,20}$/.test(cursor))
    throw new StoreUnavailableError(answer.endpoint, `answered without a cursor: ${excerpt(answer.body)}`);
  const complaints: string[] = [];
  const attempt = <T>(read: () => T): readonly T[] => {
    try {
      return [read()];
    } catch (error) {
      if (!(error instanceof InvalidConfigError)) throw error;
      complaints.push(describeError(error));
      return [];
    }
  };
  return {
    snapshot: Array.isArray(snapshot) ? snapshot.flatMap((each) => attempt(() => readLease(each))) : undefined,
    events: Array.isArray(events) ? events.flatMap((each) => attempt(() => readEvent(each))) : [],
    cursor,
    complaints,
  };
}

function readEvent(json: unknown): ToldEvent {
  if (!isRecord(json)) throw new InvalidConfigError("event", `is no object: ${excerpt(JSON.stringify(json))}`);
  const { type, lease } = json;
  if (type === "added") return { type, lease: readLease(lease) };
  if (type !== "removed")
    throw new InvalidConfigError("type", `is neither added nor removed: ${excerpt(String(type))}`);
  return { type, subnet: readSubnets(lease).subnet };
}

/** @throws {InvalidConfigError} saying what is wrong with it */
export function readLease(json: unknown): ToldLease {
  const subnets = readSubnets(json);
  const { Attrs, Expiration, Revision } = json as Readonly<Record<string, unknown>>;
  const expiration =
    Expiration === GO_ZERO_TIME ? undefined : new Date(typeof Expiration === "string" ? Expiration : "");
  if (Number.isNaN(expiration?.getTime()))
    throw new InvalidConfigError("Expiration", `is no time: ${excerpt(JSON.stringify(Expiration) ?? "")}`);
  const attributes = attributesFromJson(Attrs);
  if (attributes.publicIP.family !== subnets.subnet.address.family)
    throw new InvalidConfigError("PublicIP", `is not of the family of ${formatPrefix(subnets.subnet)}`);
  return {
    ...subnets,
    attributes,
    expiration,
    text: () => JSON.stringify([subnets.ipv6Subnet && formatPrefix(subnets.ipv6Subnet), Attrs, Expiration]),
    revision: typeof Revision === "string" && /^\d{1,19}$/.test(Revision) ? BigInt(Revision) : undefined,
  };
}

function readSubnets(json: unknown): LeaseSubnets {
  const { Subnet, IPv6Subnet } = isRecord(json) ? json : {};
  const subnet = Subnet === NO_SUBNET && IPv6Subnet !== undefined ? undefined : readPrefix("Subnet", Subnet);
  const ipv6Subnet = IPv6Subnet === undefined ? undefined : readPrefix("IPv6Subnet", IPv6Subnet);
  if (ipv6Subnet === undefined) return { subnet: subnet ?? readPrefix("Subnet", Subnet) };
  if (ipv6Subnet.address.family !== 6) throw new InvalidConfigError("IPv6Subnet", "is not of IPv6");
  return subnet === undefined ? { subnet: ipv6Subnet } : { subnet, ipv6Subnet };
}

function readPrefix(field: string, value: unknown): Prefix {
  try {
    return parsePrefix(String(value).slice(0, 60));
  } catch (error) {
    throw new InvalidConfigError(field, describeError(error));
  }
}

/** The answer to `GET /v1/`. @throws {StoreUnavailableError} */
export function readNetworks(answer: HttpAnswer): { readonly update: NetworkUpdate; readonly cursor: string } {
  const { cursor, snapshot, events } = readJson(answer);
  if (typeof cursor !== "string" || !/^\d{1,20}$/.test(cursor))
    throw new StoreUnavailableError(answer.endpoint, `answered without a cursor: ${excerpt(answer.body)}`);
  if (Array.isArray(snapshot))
    return { update: { type: "snapshot", networks: snapshot.filter((name) => typeof name === "string") }, cursor };
  const told = (Array.isArray(events) ? events : []).flatMap((event: unknown): readonly NetworkEvent[] => {
    if (!isRecord(event)) return [];
    const { type, network } = event;
    return (type === "added" || type === "removed") && typeof network === "string" ? [{ type, network }] : [];
  });
  return { update: { type: "events", events: told }, cursor };
}

export function readReservations(answer: HttpAnswer): readonly Reservation[] {
  const json: unknown = JSON.parse(answer.body);
  if (!Array.isArray(json)) throw new StoreUnavailableError(answer.endpoint, "answered without reservations");
  return json.map((each: unknown) => {
    const text = isRecord(each) ? each["PublicIP"] : undefined;
    const publicIP = tryParseAddress(String(text));
    if (publicIP === undefined) throw new StoreUnavailableError(answer.endpoint, "told of a reservation for nobody");
    return { ...readSubnets(each), publicIP };
  });
}

/** The error that a server told of, by the header of ours or the words of 0.7.0's. @param subnet which was meant */
export function failureOf({ endpoint, status, headers, body }: HttpAnswer, subnet?: Prefix): Error {
  const text = body.trim();
  const code = headers[HEADERS.error] ?? codeByText(text, subnet);
  const meant = subnet ?? parsePrefix("0.0.0.0/0");
  if (code === "config-not-found") return new ConfigNotFoundError(/\((.*)\)/.exec(text)?.[1] ?? endpoint);
  if (code === "out-of-subnets") return new OutOfSubnetsError(text);
  if (code === "lease-taken") return new LeaseTakenError(meant);
  if (code === "lease-lost") return new LeaseLostError(meant, text);
  if (code === "invalid-config") {
    const field = decodeURIComponent(String(headers[HEADERS.field] ?? ""));
    return new InvalidConfigError(field, field === "" ? text : text.replace(`${field}: `, ""));
  }
  if (code === "unsupported") return new UnsupportedError("server", `${endpoint}: ${text}`);
  if (code === "store-refused" || code === "refused" || status === 403) return new StoreRefusedError(endpoint, text);
  if (status === 404) return new StoreRefusedError(endpoint, "is no flannel server: it answers 404");
  if (status === 400) return new StoreRefusedError(endpoint, excerpt(text));
  return new StoreUnavailableError(endpoint, `${status} ${excerpt(text)}`);
}

function codeByText(text: string, subnet: Prefix | undefined): string | undefined {
  if (text.startsWith("100: Key not found")) return subnet === undefined ? "config-not-found" : "lease-lost";
  if (text.includes("out of subnets")) return "out-of-subnets";
  if (text.includes("lease already taken")) return "lease-taken";
  return undefined;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function excerpt(text: string): string {
  const line = text.replaceAll(/\s+/g, " ").trim();
  return JSON.stringify(line.length > 100 ? `${line.slice(0, 100)}…` : line);
}
