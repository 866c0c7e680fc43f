import { formatAddress } from "../ip/address.ts";
import { formatPrefix, type Prefix } from "../ip/prefix.ts";
import type { Cursor, Json, Lease, LeaseEvent, NetworkName } from "../lease/lease.ts";
import { LEASE_TTL } from "../lease/lease.ts";
import { formatAttributes, formatLeaseKey, type LeaseSubnets } from "../lease/lease-codec.ts";
import type { NetworkConfig, SubnetRange } from "../lease/network-config.ts";
import type { Reservation } from "../lease/subnet-manager.ts";
import type { Clock } from "../lib/clock.ts";
import { formatCursor } from "./cursor-text.ts";
import { escapeHtml, formatGoJson, formatGoTime, GO_ZERO_TIME } from "./go-json.ts";

/** In paths, the unnamed network of single-network mode. */
export const UNNAMED = "_";

/** How a client is answered: 0.7.0's see what 0.7.0's server would say; ours also hear of revisions, and of many changes at once. */
export type Dialect = "0.7" | "extended";

/** The answer to `GET …/config`: the stored config with its defaults, field by field in 0.7.0's order. */
export function formatConfig(config: NetworkConfig): string {
  const { backend, network } = config;
  const isIPv6Only = network.address.family === 6;
  const ipv6 = isIPv6Only ? config : config.ipv6;
  return formatGoJson({
    ...(isIPv6Only ? { EnableIPv4: false } : rangeJson("", config)),
    ...(ipv6 !== undefined && { EnableIPv6: true, ...rangeJson("IPv6", ipv6) }),
    ...(Object.keys(backend.options).length > 0 && { Backend: backend.options }),
  });
}

function rangeJson(prefix: "" | "IPv6", { network, subnetMin, subnetMax, subnetLength }: SubnetRange) {
  return {
    [`${prefix}Network`]: formatPrefix(network),
    [`${prefix}SubnetMin`]: formatAddress(subnetMin),
    [`${prefix}SubnetMax`]: formatAddress(subnetMax),
    [`${prefix}SubnetLen`]: subnetLength,
  };
}

/** The answer to `POST` and `PUT`: one lease. */
export function formatLeaseAnswer(lease: Lease, clock: Clock): string {
  return `${formatLease(lease, clock, "0.7")}\n`;
}

/** A lease without the newline. */
export function formatLease(lease: Lease, clock: Clock, dialect: Dialect): string {
  const { owner: _private, ...attributes } = lease.attributes;
  const text = `{${formatSubnets(lease)},"Attrs":${escapeHtml(formatAttributes(attributes, "0.7"))},"Expiration":"${formatGoTime(expiration(lease, clock))}"`;
  return dialect === "0.7" ? `${text}}` : `${text},"Revision":"${lease.revision}"}`;
}

/** `"Subnet":"10.5.34.0/24"`, as a flannel of 0.7 has it, and behind it what such a one passes over. */
export function formatSubnets({ subnet, ipv6Subnet }: LeaseSubnets): string {
  const isIPv6Only = subnet.address.family === 6;
  const text = `"Subnet":"${isIPv6Only ? NO_SUBNET : formatPrefix(subnet)}"`;
  const ipv6 = isIPv6Only ? subnet : ipv6Subnet;
  return ipv6 === undefined ? text : `${text},"IPv6Subnet":"${formatPrefix(ipv6)}"`;
}

/** In the place of an IPv4 subnet where there is none. */
export const NO_SUBNET = "0.0.0.0/0";

/** Where the store does not tell when a lease ends, a day from now is the latest it can be. */
function expiration({ isReservation, expiration, expiresAt }: Lease, clock: Clock): Date | undefined {
  if (isReservation) return undefined;
  const left = expiresAt === undefined ? LEASE_TTL : expiresAt - clock.now();
  return expiration ?? new Date(clock.wallClock().getTime() + left);
}

/** What Go writes for a lease of which nothing is known but, perhaps, its subnet. */
function emptyLease(subnets = `"Subnet":"${NO_SUBNET}"`): string {
  return `{${subnets},"Attrs":{"PublicIP":"0.0.0.0"},"Expiration":"${GO_ZERO_TIME}"}`;
}

export function formatLeaseEvent(event: LeaseEvent, clock: Clock, dialect: Dialect): string {
  return event.type === "added"
    ? `{"type":"added","lease":${formatLease(event.lease, clock, dialect)}}`
    : `{"type":"removed","lease":${emptyLease(formatSubnets(event))}}`;
}

export interface NetworkEvent {
  readonly type: "added" | "removed";
  readonly network: NetworkName;
}

export function formatNetworkEvent({ type, network }: NetworkEvent): string {
  return `{"type":"${type}","lease":${emptyLease()},"network":${escapeHtml(JSON.stringify(network))}}`;
}

/** @param items JSON texts of events */
export function formatEvents(items: readonly string[], cursor: Cursor): string {
  return `{"events":[${items.join(",")}],"snapshot":null,"cursor":"${formatCursor(cursor)}"}\n`;
}

/** @param items JSON texts of leases, or of networks' names */
export function formatSnapshot(items: readonly string[], cursor: Cursor): string {
  return `{"events":null,"snapshot":[${items.join(",")}],"cursor":"${formatCursor(cursor)}"}\n`;
}

export function formatReservations(reservations: readonly Reservation[]): string {
  return formatGoJson(reservations.map(reservationJson));
}

export function reservationJson({ subnet, ipv6Subnet, publicIP }: Reservation): Json {
  return {
    Subnet: formatPrefix(subnet),
    ...(ipv6Subnet !== undefined && { IPv6Subnet: formatPrefix(ipv6Subnet) }),
    PublicIP: formatAddress(publicIP),
  };
}

/** `10.5.34.0-24`, as paths have it: the key of the lease on this subnet, without its second one. */
export function formatSubnetSegment(subnet: Prefix): string {
  return formatLeaseKey({ subnet });
}
