import { formatPrefix, type Prefix } from "../../ip/prefix.ts";
import type { KernelRoute, Link, LinkRow, RouteRow, TunRow } from "../kernel.ts";
import type { FakeRoute } from "./stack.ts";

/** Routes that people make by hand, and that the reference made. linux/rtnetlink.h */
export const PROTOCOL_BOOT = 3;

export function routeKey(destination: Prefix, metric: number): string {
  return `${formatPrefix(destination)} ${metric}`;
}

export function usualRoute(route: FakeRoute | RouteRow): KernelRoute {
  return {
    gateway: undefined,
    onlink: false,
    protocol: PROTOCOL_BOOT,
    metric: 0,
    source: undefined,
    unicast: true,
    multipath: false,
    ...route,
    scope: route.scope ?? (route.gateway === undefined ? "link" : "global"),
  };
}

export function toRouteRow({ destination, link, gateway, onlink, scope, unicast, multipath }: KernelRoute): RouteRow[] {
  if (link === undefined || !unicast || multipath) return [];
  if (gateway !== undefined) return [{ destination, link, gateway, onlink }];
  return [{ destination, link, onlink, scope: scope === "global" ? "global" : "link" }];
}

export function toLinkRow({ name, mac, mtu, vxlan, up }: Link): LinkRow[] {
  if (vxlan?.local === undefined || vxlan.lower === undefined || mac === undefined) return [];
  const { local, lower } = vxlan;
  return [{ kind: "vxlan", name, mac, mtu, ...vxlan, local, lower, ...(up ? {} : { up: false }) }];
}

export function toTunRow({ name, mtu, up }: Link): TunRow {
  return { name, mtu, ...(up ? {} : { up: false }) };
}
