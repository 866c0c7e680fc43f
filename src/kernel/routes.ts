import { type Address, addressBits, type Family, formatAddress } from "../ip/address.ts";
import type { Prefix } from "../ip/prefix.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { ValueOf } from "../wire/codec.ts";
import { AF_INET, AF_INET6 } from "../wire/netlink-header.ts";
import {
  RouteMessage,
  RT_TABLE_MAIN,
  RTM_F_CLONED,
  RTM_GETROUTE,
  RTM_NEWROUTE,
  RTN_UNICAST,
  RTNH_F_ONLINK,
} from "../wire/route-message.ts";
import { scopeName } from "./address-table.ts";
import { EACCES, EHOSTUNREACH, EINVAL, ENETUNREACH, ENOENT, EOPNOTSUPP, ESRCH } from "./errno.ts";
import type { KernelRoute } from "./kernel.ts";
import type { NetlinkConnection } from "./netlink-connection.ts";
import { NetlinkError } from "./netlink-error.ts";

export type RouteValue = ValueOf<typeof RouteMessage>;

/** What IPv6 routes get that are made without a metric. */
const IPV6_DEFAULT_METRIC = 1024;

export function addressFamily(family: Family): number {
  return family === 4 ? AF_INET : AF_INET6;
}

/** Routes of the main table as the kernel tells them. @param protocol only those with it */
export async function dumpRoutes(
  connection: NetlinkConnection,
  family: Family,
  protocol: number | undefined,
  { signal }: Abortable,
): Promise<readonly RouteValue[]> {
  const filter = { family: addressFamily(family), table: RT_TABLE_MAIN, protocol: protocol ?? 0 };
  const take = (route: RouteValue, type: number) => {
    // a kernel without IPv6 answers with IPv4's routes
    if (type !== RTM_NEWROUTE || route.family !== filter.family || (route.flags & RTM_F_CLONED) !== 0) return undefined;
    if ((route.wideTable ?? route.table) !== RT_TABLE_MAIN) return undefined;
    return protocol === undefined || route.protocol === protocol ? route : undefined;
  };
  try {
    return await connection.dump(RTM_GETROUTE, RouteMessage, filter, take, { signal, describe: "list routes" });
  } catch (error) {
    // without such a table, or without the family at all
    if (error instanceof NetlinkError && (error.errno === ENOENT || error.errno === EOPNOTSUPP)) return [];
    throw error;
  }
}

/** What the kernel answers when it does not know the way, or is told to refuse. */
const NO_WAY: readonly number[] = [ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL, ESRCH];

/** The route that a packet to the address takes, of all tables; undefined if none leads out of this host. */
export async function lookUpRoute(
  connection: NetlinkConnection,
  destination: Address,
  { signal }: Abortable,
): Promise<RouteValue | undefined> {
  const { family } = destination;
  const which = { family: addressFamily(family), destinationLength: addressBits(family), destination };
  const describe = `look up the route to ${formatAddress(destination)}`;
  const answer = await connection.get(RTM_GETROUTE, RouteMessage, which, { signal, describe });
  if (!(answer instanceof NetlinkError)) return answer.kind === RTN_UNICAST ? answer : undefined;
  if (NO_WAY.includes(answer.errno)) return undefined;
  throw answer;
}

export function destinationOf(route: RouteValue): Prefix {
  const family = route.family === AF_INET ? 4 : 6;
  return { address: route.destination ?? { family, value: 0n }, length: route.destinationLength };
}

/** Whether the metric is what a route gets that is made without one. */
export function hasDefaultMetric(route: RouteValue): boolean {
  return (route.metric ?? 0) === (route.family === AF_INET6 ? IPV6_DEFAULT_METRIC : 0);
}

/** @param nameOf the name of a link by its index */
export function toKernelRoute(route: RouteValue, nameOf: (index: number) => string | undefined): KernelRoute {
  const hop = route.multipath?.[0];
  const index = route.linkIndex ?? hop?.linkIndex;
  return {
    destination: destinationOf(route),
    link: index === undefined ? undefined : nameOf(index),
    gateway: route.gateway ?? hop?.gateway,
    onlink: ((hop?.flags ?? route.flags) & RTNH_F_ONLINK) !== 0,
    scope: route.scope === 255 ? "nowhere" : scopeName(route.scope),
    protocol: route.protocol,
    metric: route.metric ?? 0,
    source: route.preferredSource,
    unicast: route.kind === RTN_UNICAST,
    multipath: route.multipath !== undefined,
  };
}
