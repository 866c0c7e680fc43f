import { containsPrefix, formatPrefix, type Prefix } from "../ip/prefix.ts";
import type { Abortable } from "../lib/abortable.ts";
import { RTNH_F_ONLINK, RTPROT_BOOT } from "../wire/route-message.ts";
import { type KernelRoute, ROUTE_PROTOCOL, type RouteRow, type RouteScope } from "./kernel.ts";
import type { LinkWatch } from "./link-watch.ts";
import type { Netlink } from "./netlink.ts";
import type { Nexthop, Nexthops } from "./nexthops.ts";
import { dumpRoutes, hasDefaultMetric, type RouteValue, toKernelRoute } from "./routes.ts";

/** A route that is ours, as the kernel has it. */
export interface OwnRoute {
  readonly row: RouteRow;
  readonly protocol: number;
  readonly linkIndex: number;
  /** Undefined for a plain route, and for one through an object that is not ours. */
  readonly nexthop: Nexthop | undefined;
  readonly nexthopId: number | undefined;
}

/** A destination as something a Map compares by value; a number for IPv4, since there are many. */
export type RouteKey = number | string;

export function routeKey(destination: Prefix): RouteKey {
  const { address, length } = destination;
  return address.family === 4 ? Number(address.value) * 64 + length : formatPrefix(destination);
}

/** What stands at a destination, whoever made it. */
export interface ExistingRoute {
  readonly route: KernelRoute;
  /** If it is one that a row can describe and whose protocol may be ours. */
  readonly own: OwnRoute | undefined;
}

/** Which routes of the main table are one network's: by our protocol, or adopted. */
export class OwnRoutes {
  readonly #netlink: Netlink;
  readonly #scope: RouteScope;
  readonly #nexthops: Nexthops;
  readonly #links: LinkWatch;
  #routes = new Map<RouteKey, OwnRoute>();
  /** `proto boot` routes that were exactly what was wanted. */
  readonly #adopted = new Set<RouteKey>();

  /** @param links is told of the links that routes go through */
  constructor(netlink: Netlink, scope: RouteScope, nexthops: Nexthops, links: LinkWatch) {
    this.#netlink = netlink;
    this.#scope = scope;
    this.#nexthops = nexthops;
    this.#links = links;
  }

  /** Reads them from the kernel, and counts them as users of nexthops that were read before. */
  async read(options: Abortable): Promise<readonly RouteRow[]> {
    const found: RouteValue[] = [];
    for (const family of new Set(this.#scope.networks.map((network) => network.address.family)))
      for (const protocol of [ROUTE_PROTOCOL, RTPROT_BOOT])
        for (const route of await dumpRoutes(this.#netlink.connection, family, protocol, options)) found.push(route);
    const names = await this.#linkNames(found, options);
    const routes = new Map<RouteKey, OwnRoute>();
    for (const message of found) {
      const own = this.#toOwn(message, names);
      if (own === undefined) continue;
      if (own.nexthop !== undefined) this.#nexthops.adopt(own.nexthop);
      routes.set(routeKey(own.row.destination), own);
    }
    this.#routes = routes;
    return Array.from(routes.values(), (own) => own.row);
  }

  get(key: RouteKey): OwnRoute | undefined {
    return this.#routes.get(key);
  }

  has(key: RouteKey): boolean {
    return this.#routes.has(key);
  }

  /** We made it, in place of what we had. */
  set(key: RouteKey, own: OwnRoute): void {
    this.#releaseNexthop(key);
    this.#routes.set(key, own);
    this.#adopted.delete(key);
  }

  /** Somebody else made it, just as we want it. */
  adopt(key: RouteKey, own: OwnRoute): void {
    this.#routes.set(key, own);
    this.#adopted.add(key);
  }

  delete(key: RouteKey): void {
    this.#releaseNexthop(key);
    this.#routes.delete(key);
    this.#adopted.delete(key);
  }

  /** Whether it is ours though we did not make it in this life. */
  mayTake({ route, own }: ExistingRoute): boolean {
    return own !== undefined && (own.protocol === ROUTE_PROTOCOL || this.#scope.adoptable(route));
  }

  /** Whether the destination lies in one of the networks. */
  covers(destination: Prefix): boolean {
    return this.#scope.networks.some((network) => containsPrefix(network, destination));
  }

  /** What stands at the destinations of these rows, whoever made it. */
  async readExisting(rows: readonly RouteRow[], options: Abortable): Promise<ReadonlyMap<RouteKey, ExistingRoute>> {
    const wanted = new Set(rows.map((row) => routeKey(row.destination)));
    const found: RouteValue[] = [];
    for (const family of new Set(rows.map((row) => row.destination.address.family)))
      for (const route of await dumpRoutes(this.#netlink.connection, family, undefined, options))
        if (hasDefaultMetric(route) && route.tos === 0) found.push(route);
    const names = await this.#linkNames(found, options);
    const existing = new Map<RouteKey, ExistingRoute>();
    for (const message of found) {
      const route = toKernelRoute(message, (index) => names.get(index));
      const key = routeKey(route.destination);
      const mayBeOurs = message.protocol === ROUTE_PROTOCOL || message.protocol === RTPROT_BOOT;
      if (wanted.has(key)) existing.set(key, { route, own: mayBeOurs ? this.#toRoute(message, route) : undefined });
    }
    return existing;
  }

  #releaseNexthop(key: RouteKey): void {
    const nexthop = this.#routes.get(key)?.nexthop;
    if (nexthop !== undefined) this.#nexthops.release(nexthop);
  }

  /** Undefined if it is not ours. */
  #toOwn(message: RouteValue, names: ReadonlyMap<number, string>): OwnRoute | undefined {
    if (!hasDefaultMetric(message) || message.tos !== 0) return undefined;
    const route = toKernelRoute(this.#withHop(message), (index) => names.get(index));
    if (!this.covers(route.destination)) return undefined;
    const isAdopted = () => this.#adopted.has(routeKey(route.destination)) || this.#scope.adoptable(route);
    if (route.protocol === RTPROT_BOOT && !isAdopted()) return undefined;
    return this.#toRoute(message, route);
  }

  /** Undefined if no row can say what it does. */
  #toRoute(message: RouteValue, route: KernelRoute): OwnRoute | undefined {
    const { linkIndex } = this.#withHop(message);
    const { destination, link, onlink, gateway, protocol } = route;
    if (!route.unicast || route.multipath || link === undefined || linkIndex === undefined) return undefined;
    const row: RouteRow =
      gateway === undefined
        ? { destination, link, onlink, scope: route.scope === "global" ? "global" : "link" }
        : { destination, link, onlink, gateway };
    const { nexthopId } = message;
    const nexthop = nexthopId === undefined ? undefined : this.#nexthops.byId(nexthopId);
    return { row, protocol, linkIndex, nexthop, nexthopId };
  }

  /** With `net.ipv4.nexthop_compat_mode=0` the kernel tells the object's id and not what it holds. */
  #withHop(message: RouteValue): RouteValue {
    if (message.linkIndex !== undefined || message.nexthopId === undefined) return message;
    const nexthop = this.#nexthops.byId(message.nexthopId);
    if (nexthop === undefined) return message;
    const { linkIndex, gateway, onlink } = nexthop;
    return { ...message, linkIndex, gateway, flags: message.flags | (onlink ? RTNH_F_ONLINK : 0) };
  }

  async #linkNames(routes: readonly RouteValue[], options: Abortable): Promise<ReadonlyMap<number, string>> {
    const names = new Map<number, string>();
    for (const index of new Set(routes.map((route) => this.#withHop(route).linkIndex))) {
      const name = index === undefined ? undefined : await this.#netlink.links.nameOf(index, options);
      if (index === undefined || name === undefined) continue;
      names.set(index, name);
      this.#links.saw(name, await this.#netlink.links.state(name, options));
    }
    return names;
  }
}
