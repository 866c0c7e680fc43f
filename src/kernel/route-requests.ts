import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from "../wire/netlink-header.ts";
import {
  RouteMessage,
  RT_SCOPE_LINK,
  RT_SCOPE_NOWHERE,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTM_DELROUTE,
  RTM_NEWROUTE,
  RTN_UNICAST,
  RTNH_F_ONLINK,
} from "../wire/route-message.ts";
import { ROUTE_PROTOCOL, type RouteRow } from "./kernel.ts";
import { type NetlinkRequest, netlinkRequest } from "./netlink-connection.ts";
import type { Nexthop } from "./nexthops.ts";
import type { OwnRoute, RouteKey } from "./own-routes.ts";
import { addressFamily } from "./routes.ts";
import { routeRows, routeScope } from "./rows.ts";

/** A row on its way into the kernel. */
export interface RouteChange {
  readonly row: RouteRow;
  readonly key: RouteKey;
  readonly linkIndex: number;
  /** Undefined for a plain route. */
  readonly nexthop: Nexthop | undefined;
  /** The nexthop is one that was there before. */
  readonly sharesNexthop: boolean;
  /** Whether it may take the place of what is there. */
  readonly replaces: boolean;
}

/** For errors: `add route 10.1.15.0/24 via 192.168.0.7 dev eth0`. */
export function describePut(row: RouteRow): string {
  return `add route ${routeRows.format(row)}`;
}

export function putRequest({ row, linkIndex, nexthop, replaces }: RouteChange): NetlinkRequest {
  const { address, length } = row.destination;
  const hasGateway = row.gateway !== undefined;
  const isPlain = nexthop === undefined;
  const value = {
    family: addressFamily(address.family),
    destinationLength: length,
    table: RT_TABLE_MAIN,
    protocol: ROUTE_PROTOCOL,
    scope: !hasGateway && routeScope(row) === "link" ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
    kind: RTN_UNICAST,
    flags: isPlain && hasGateway && row.onlink ? RTNH_F_ONLINK : 0,
    destination: address,
    linkIndex: isPlain ? linkIndex : undefined,
    gateway: isPlain ? row.gateway : undefined,
    nexthopId: nexthop?.id,
  };
  const flags = NLM_F_CREATE | (replaces ? NLM_F_REPLACE : NLM_F_EXCL);
  return netlinkRequest(RTM_NEWROUTE, flags, RouteMessage, value, () => describePut(row));
}

/** Names all that is known of the route, so that another to the same destination is not hit. @param own as the kernel has it, if known */
export function removeRequest(row: RouteRow, own: OwnRoute | undefined): NetlinkRequest {
  const { address, length } = row.destination;
  const isPlain = own !== undefined && own.nexthopId === undefined;
  const value = {
    family: addressFamily(address.family),
    destinationLength: length,
    table: RT_TABLE_MAIN,
    protocol: own?.protocol ?? ROUTE_PROTOCOL,
    scope: RT_SCOPE_NOWHERE,
    kind: RTN_UNICAST,
    destination: address,
    linkIndex: isPlain ? own.linkIndex : undefined,
    gateway: isPlain ? own.row.gateway : undefined,
    nexthopId: own?.nexthopId,
  };
  return netlinkRequest(RTM_DELROUTE, 0, RouteMessage, value, () => `remove route ${routeRows.format(row)}`);
}
