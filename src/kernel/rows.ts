import type { Table } from "../dataplane/table.ts";
import { equalAddress, formatAddress } from "../ip/address.ts";
import { equalPrefix, formatPrefix } from "../ip/prefix.ts";
import {
  type AddressRow,
  type FdbRow,
  type Link,
  type LinkRow,
  type NeighborRow,
  type RouteRow,
  type SysctlRow,
  type TunRow,
  type UdpSocketRow,
  VXLAN_DEFAULT_PORT,
  type VxlanSettings,
} from "./kernel.ts";

/** What tells rows of one kind apart: pure, so that every implementation of a table has the same. */
export type RowKind<Row> = Pick<Table<Row>, "key" | "equal" | "format">;

export const linkRows: RowKind<LinkRow> = {
  key: (row) => row.name,
  equal: (desired, actual) =>
    actual.up !== false && desired.mac === actual.mac && desired.mtu === actual.mtu && sameVxlan(desired, actual),
  format(row) {
    const options = `${row.learning ? "" : " nolearning"}${row.gbp ? " gbp" : ""}${row.up === false ? " down" : ""}`;
    return (
      `${row.name} vxlan id ${row.vni} local ${formatAddress(row.local)} dev ${row.lower} ` +
      `dstport ${row.port || VXLAN_DEFAULT_PORT}${options} address ${row.mac} mtu ${row.mtu}`
    );
  },
};

export const addressRows: RowKind<AddressRow> = {
  key: (row) => formatPrefix(row.address),
  equal: (desired, actual) => equalPrefix(desired.address, actual.address),
  format: (row) => `${formatPrefix(row.address)} dev ${row.link}`,
};

export const routeRows: RowKind<RouteRow> = {
  key: (row) => formatPrefix(row.destination),
  equal(desired, actual) {
    if (!equalPrefix(desired.destination, actual.destination) || desired.link !== actual.link) return false;
    if (desired.gateway === undefined || actual.gateway === undefined)
      return desired.gateway === actual.gateway && routeScope(desired) === routeScope(actual);
    return desired.onlink === actual.onlink && equalAddress(desired.gateway, actual.gateway);
  },
  format(row) {
    const via = row.gateway === undefined ? "" : ` via ${formatAddress(row.gateway)}`;
    return `${formatPrefix(row.destination)}${via} dev ${row.link}${row.onlink ? " onlink" : ""}`;
  },
};

export const neighborRows: RowKind<NeighborRow> = {
  key: (row) => formatAddress(row.destination),
  equal: (desired, actual) => desired.mac === actual.mac && equalAddress(desired.destination, actual.destination),
  format: (row) => `${formatAddress(row.destination)} lladdr ${row.mac} dev ${row.link}`,
};

export const fdbRows: RowKind<FdbRow> = {
  key: (row) => row.mac,
  equal: (desired, actual) => desired.mac === actual.mac && equalAddress(desired.destination, actual.destination),
  format: (row) => `${row.mac} dst ${formatAddress(row.destination)} dev ${row.link}`,
};

export const tunRows: RowKind<TunRow> = {
  key: (row) => row.name,
  equal: (desired, actual) => actual.up !== false && desired.mtu === actual.mtu,
  format: (row) => `${row.name} tun mtu ${row.mtu}${row.up === false ? " down" : ""}`,
};

export const udpSocketRows: RowKind<UdpSocketRow> = {
  key: (row) => `${formatAddress(row.address)}:${row.port}`,
  equal: (desired, actual) => desired.port === actual.port && equalAddress(desired.address, actual.address),
  format: (row) => `${formatAddress(row.address)}:${row.port}`,
};

export const sysctlRows: RowKind<SysctlRow> = {
  key: (row) => row.key,
  equal: (desired, actual) => normalSysctl(desired.value) === normalSysctl(actual.value),
  format: (row) => `${row.key} = ${row.value}`,
};

/**
 * Whether a device can be made what `row` says without deleting it: the MAC, the MTU and up or down can be changed.
 * @param link as it is, of whatever kind
 */
export function compatibleVxlan(row: LinkRow, link: Link): boolean {
  return link.kind === "vxlan" && link.vxlan !== undefined && sameVxlan(row, link.vxlan);
}

function sameVxlan(a: VxlanSettings, b: VxlanSettings): boolean {
  return (
    sameVniAndPort(a, b) &&
    a.local !== undefined &&
    b.local !== undefined &&
    equalAddress(a.local, b.local) &&
    a.lower === b.lower &&
    a.gbp === b.gbp &&
    a.learning === b.learning
  );
}

/** The kernel has only one device with both in one family. */
export function sameVniAndPort(a: VxlanSettings, b: VxlanSettings): boolean {
  if ((a.local?.family ?? 4) !== (b.local?.family ?? 4)) return false;
  return a.vni === b.vni && (a.port || VXLAN_DEFAULT_PORT) === (b.port || VXLAN_DEFAULT_PORT);
}

/** Of a route without gateway; IPv6 routes have none. */
export function routeScope({ destination, scope }: RouteRow): "link" | "global" {
  return destination.address.family === 6 ? "global" : (scope ?? "link");
}

/** Tabs and line ends as the kernel writes them say nothing. */
export function normalSysctl(value: string): string {
  return value.trim().replaceAll(/\s+/g, " ");
}
