import type { Abortable } from "../lib/abortable.ts";
import { LinkMessage, RTM_DELLINK } from "../wire/link-message.ts";
import { AF_UNSPEC } from "../wire/netlink-header.ts";
import { NexthopMessage, RTM_DELNEXTHOP, RTM_GETNEXTHOP } from "../wire/nexthop-message.ts";
import { RouteMessage, RT_SCOPE_NOWHERE, RT_TABLE_MAIN, RTM_DELROUTE } from "../wire/route-message.ts";
import { EOPNOTSUPP } from "./errno.ts";
import { type KernelRoute, type Link, ROUTE_PROTOCOL } from "./kernel.ts";
import { Links } from "./links.ts";
import { isGone } from "./netlink.ts";
import { NetlinkConnection, type NetlinkRequest, netlinkRequest } from "./netlink-connection.ts";
import { NetlinkError } from "./netlink-error.ts";
import { NetlinkSocket } from "./netlink-socket.ts";
import { FIRST_NEXTHOP_ID, LAST_NEXTHOP_ID, NexthopIds, Nexthops } from "./nexthops.ts";
import { formatRoute } from "./route-format.ts";
import { dumpRoutes, type RouteValue, toKernelRoute } from "./routes.ts";

/** A route of the main table. */
export interface RemainingRoute {
  readonly route: KernelRoute;
  /** Whether it goes through a nexthop object of ours. */
  readonly isThroughOurs: boolean;
  /** As iproute2 writes it. */
  readonly text: string;
}

/** A nexthop object; it goes with its link. */
export interface RemainingNexthop {
  readonly id: number;
  readonly link: string | undefined;
}

/** What flannels may have left in a network namespace, and its removal; nothing is ever made. */
export interface Remains extends Disposable {
  listLinks(options: Abortable): Promise<readonly Link[]>;
  listRoutes(options: Abortable): Promise<readonly RemainingRoute[]>;
  /** Nexthop objects of ours. */
  listNexthops(options: Abortable): Promise<readonly RemainingNexthop[]>;
  /** With it go its addresses, routes, neighbours and forwarding entries. @throws {NetlinkError} but not if it is gone */
  removeLink(link: Link, options: Abortable): Promise<void>;
  /** Of what {@link listRoutes} gave. @throws {NetlinkError} but not if it is gone */
  removeRoute(route: RemainingRoute, options: Abortable): Promise<void>;
  /** @throws {Error} if somebody's route goes through it, which would go too; {NetlinkError} but not if it is gone */
  removeNexthop(id: number, options: Abortable): Promise<void>;
}

/** @param namespace a path such as `/run/netns/red`; undefined is where we are @throws {SystemCallError} without CAP_NET_ADMIN */
export function openRemains(namespace?: string): Remains {
  return new KernelRemains(namespace);
}

class KernelRemains implements Remains {
  readonly #connection: NetlinkConnection;
  readonly #links: Links;
  readonly #messages = new WeakMap<RemainingRoute, RouteValue>();

  constructor(namespace: string | undefined) {
    this.#connection = new NetlinkConnection(new NetlinkSocket(namespace));
    this.#links = new Links(this.#connection);
  }

  listLinks(options: Abortable): Promise<readonly Link[]> {
    return this.#links.list(options);
  }

  async listRoutes(options: Abortable): Promise<readonly RemainingRoute[]> {
    const names = new Map((await this.#links.list(options)).map(({ index, name }) => [index, name]));
    const nexthops = new Map((await this.#nexthops(options)).map((nexthop) => [nexthop.id ?? 0, nexthop]));
    const routes: RemainingRoute[] = [];
    for (const family of [4, 6] as const)
      for (const message of await dumpRoutes(this.#connection, family, undefined, options)) {
        const nexthop = nexthops.get(message.nexthopId ?? 0);
        // With `net.ipv4.nexthop_compat_mode=0` the kernel tells the object's id and not what it holds.
        const whole = { linkIndex: nexthop?.linkIndex, gateway: nexthop?.gateway, ...withoutAbsent(message) };
        const route = toKernelRoute(whole, (index) => names.get(index));
        const remaining = { route, isThroughOurs: nexthop !== undefined, text: formatRoute(route) };
        this.#messages.set(remaining, message);
        routes.push(remaining);
      }
    return routes;
  }

  async listNexthops(options: Abortable): Promise<readonly RemainingNexthop[]> {
    const names = new Map((await this.#links.list(options)).map(({ index, name }) => [index, name]));
    return (await this.#nexthops(options)).map(({ id = 0, linkIndex = 0 }) => ({ id, link: names.get(linkIndex) }));
  }

  async removeLink({ index, name }: Link, options: Abortable): Promise<void> {
    const which = { family: AF_UNSPEC, index };
    await this.#request(
      netlinkRequest(RTM_DELLINK, 0, LinkMessage, which, () => `remove link ${name}`),
      options,
    );
  }

  async removeRoute(remaining: RemainingRoute, options: Abortable): Promise<void> {
    const message = this.#messages.get(remaining);
    if (message === undefined) throw new Error(`not a listed route: ${remaining.text}`);
    const { family, destinationLength, tos, protocol, destination, metric, nexthopId } = message;
    const hop = nexthopId === undefined ? { linkIndex: message.linkIndex, gateway: message.gateway } : { nexthopId };
    // Of no certain kind: that finds a blackhole too.
    const which = { family, destinationLength, tos, table: RT_TABLE_MAIN, protocol, scope: RT_SCOPE_NOWHERE };
    const value = { ...which, destination, metric, ...hop };
    const describe = () => `remove route ${remaining.text}`;
    await this.#request(netlinkRequest(RTM_DELROUTE, 0, RouteMessage, value, describe), options);
  }

  async removeNexthop(id: number, options: Abortable): Promise<void> {
    const inUse = await new Nexthops(this.#connection, new NexthopIds()).idsInUse(options);
    if (inUse.has(id)) throw new Error(`a route that is not flannel's goes through nexthop ${id}`);
    const which = { family: AF_UNSPEC, id };
    const request = netlinkRequest(RTM_DELNEXTHOP, 0, NexthopMessage, which, () => `remove nexthop ${id}`);
    await this.#request(request, options);
  }

  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]();
  }

  async #nexthops({ signal }: Abortable) {
    const take = (nexthop: ReturnType<typeof NexthopMessage.read>) => {
      const { id = 0, protocol } = nexthop;
      const isOurs = protocol === ROUTE_PROTOCOL && id >= FIRST_NEXTHOP_ID && id <= LAST_NEXTHOP_ID;
      return isOurs ? nexthop : undefined;
    };
    try {
      const options = { signal, describe: "list nexthops" };
      return await this.#connection.dump(RTM_GETNEXTHOP, NexthopMessage, { family: AF_UNSPEC }, take, options);
    } catch (error) {
      if (error instanceof NetlinkError && error.errno === EOPNOTSUPP) return []; // Linux < 5.3 has none
      throw error;
    }
  }

  async #request(request: NetlinkRequest, options: Abortable): Promise<void> {
    const [error] = (await this.#connection.request([request], () => request, options)).values();
    if (error !== undefined && !isGone(error)) throw error;
  }
}

function withoutAbsent(message: RouteValue): RouteValue {
  return Object.fromEntries(Object.entries(message).filter(([, value]) => value !== undefined)) as RouteValue;
}
