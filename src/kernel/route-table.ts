import type { Plan, RowFailure, Table } from "../dataplane/table.ts";
import { containsPrefix, formatPrefix, type Prefix } from "../ip/prefix.ts";
import type { Abortable } from "../lib/abortable.ts";
import { type Clock, type Instant, systemClock } from "../lib/clock.ts";
import { RTM_DELADDR } from "../wire/address-message.ts";
import { u32 } from "../wire/codecs.ts";
import { AF_INET, AF_INET6, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from "../wire/netlink-header.ts";
import { NexthopMessage, NHA_ID, RTM_DELNEXTHOP, RTM_NEWNEXTHOP } from "../wire/nexthop-message.ts";
import {
  RouteMessage,
  RT_SCOPE_LINK,
  RT_SCOPE_NOWHERE,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTM_DELROUTE,
  RTM_F_CLONED,
  RTM_NEWROUTE,
  RTN_UNICAST,
  RTNH_F_ONLINK,
  RTPROT_BOOT,
} from "../wire/route-message.ts";
import { findAttribute } from "../wire/schema.ts";
import { LITTLE_ENDIAN } from "../wire/writer.ts";
import { EEXIST, EINVAL, ENODEV } from "./errno.ts";
import { type KernelRoute, ROUTE_PROTOCOL, type RouteRow, type RouteScope } from "./kernel.ts";
import { LINK_NOTIFICATIONS, LinkWatch } from "./link-watch.ts";
import type { Notification } from "./monitor.ts";
import { isGone, type Netlink } from "./netlink.ts";
import { type NetlinkRequest, netlinkRequest } from "./netlink-connection.ts";
import { NetlinkError } from "./netlink-error.ts";
import { type Nexthop, type NexthopIds, Nexthops } from "./nexthops.ts";
import { formatRoute } from "./route-format.ts";
import { addressFamily, dumpRoutes, hasDefaultMetric, type RouteValue, toKernelRoute } from "./routes.ts";
import { routeRows, routeScope } from "./rows.ts";

/** Rounds of an `apply`: what the kernel did meanwhile, or who was in the way, is found out and the rest tried again. */
const ROUNDS = 3;

/** A nexthop of our protocol that no route uses may be half of what another daemon is about to do, for so long. */
const STRANGER_AGE = 2000;

/** A route that is ours, as the kernel has it. */
interface OwnRoute {
  readonly row: RouteRow;
  readonly protocol: number;
  readonly linkIndex: number;
  /** Undefined for a plain route, and for one through an object that is not ours. */
  readonly nexthop: Nexthop | undefined;
  readonly nexthopId: number | undefined;
}

/** A row on its way into the kernel. */
interface Change {
  readonly row: RouteRow;
  readonly key: string;
  readonly linkIndex: number;
  readonly nexthop: Nexthop | undefined;
  /** The nexthop is one that was there before. */
  readonly sharesNexthop: boolean;
  /** Whether it may take the place of what is there. */
  readonly replaces: boolean;
}

/**
 * Routes of one network in the main table. Gateways are nexthop objects where the kernel has them: plain gateway routes on one
 * device are slow in the kernel, quadratic in their number. The ids of the objects are nobody's business outside.
 */
export class RouteTable implements Table<RouteRow> {
  readonly name = "routes";
  readonly key = routeRows.key;
  readonly equal = routeRows.equal;
  readonly format = routeRows.format;
  readonly #netlink: Netlink;
  readonly #scope: RouteScope;
  readonly #nexthops: Nexthops;
  #usesNexthops: boolean;
  readonly #links = new LinkWatch();
  readonly #clock: Clock;
  /** By destination. True only while `#isFresh`. */
  #own = new Map<string, OwnRoute>();
  /** Nothing has happened since the last look that we were told of; without watchers we are told of nothing. */
  #isFresh = false;
  #watchers = 0;
  /** `proto boot` routes that were exactly what we wanted. */
  readonly #adopted = new Set<string>();
  /** Destinations where somebody else's route is in our way. */
  readonly #conflicts = new Set<string>();
  /** Nexthops of our protocol without a route of this table, and since when. Infinity: they have other routes. */
  #strangers = new Map<number, Instant>();

  constructor(netlink: Netlink, ids: NexthopIds, usesNexthops: boolean, scope: RouteScope, clock: Clock = systemClock) {
    this.#netlink = netlink;
    this.#scope = scope;
    this.#nexthops = new Nexthops(netlink.connection, ids);
    this.#usesNexthops = usesNexthops;
    this.#clock = clock;
  }

  async list(options: Abortable): Promise<readonly RouteRow[]> {
    this.#netlink.monitor.catchUp();
    this.#isFresh = true;
    if (this.#usesNexthops) this.#usesNexthops = await this.#nexthops.read(options);
    const found: RouteValue[] = [];
    for (const family of new Set(this.#scope.networks.map((network) => network.address.family)))
      for (const protocol of [ROUTE_PROTOCOL, RTPROT_BOOT])
        found.push(...(await dumpRoutes(this.#netlink.connection, family, protocol, options)));
    const names = await this.#linkNames(found, options);
    const own = new Map<string, OwnRoute>();
    for (const message of found) {
      const route = this.#toOwn(message, names);
      if (route === undefined) continue;
      if (route.nexthop !== undefined) this.#nexthops.adopt(route.nexthop);
      own.set(this.key(route.row), route);
    }
    this.#own = own;
    if (this.#usesNexthops) await this.#pruneStrangers(options);
    return Array.from(own.values(), (route) => route.row);
  }

  async apply(plan: Plan<RouteRow>, options: Abortable): Promise<readonly RowFailure<RouteRow>[]> {
    const failures: RowFailure<RouteRow>[] = [];
    let puts: readonly RouteRow[] = plan.puts;
    for (let round = 1; round <= ROUNDS && (puts.length > 0 || round === 1); round++) {
      this.#netlink.monitor.catchUp();
      if (!this.#isFresh || this.#watchers === 0) await this.list(options);
      puts = await this.#put(puts, failures, round === ROUNDS, options);
    }
    await this.#remove(plan.removals, failures, options);
    await this.#nexthops.removeUnused(options);
    return failures;
  }

  watch(onChange: () => void): Disposable {
    this.#watchers++;
    this.#isFresh = false;
    const news = () => {
      this.#isFresh = false;
      onChange();
    };
    const subscription = this.#netlink.monitor.subscribe({
      types: [...LINK_NOTIFICATIONS, RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_DELADDR],
      onOverrun: news,
      onNotification: (notification) => {
        if (this.#isNews(notification)) news();
      },
    });
    return {
      [Symbol.dispose]: () => {
        subscription[Symbol.dispose]();
        this.#watchers--;
        this.#isFresh = false;
      },
    };
  }

  /** @returns what is worth another round */
  async #put(
    rows: readonly RouteRow[],
    failures: RowFailure<RouteRow>[],
    isLastRound: boolean,
    options: Abortable,
  ): Promise<readonly RouteRow[]> {
    const changes = await this.#prepare(rows, failures, options);
    const requests = changes.map((change) => this.#putRequest(change));
    const results = await this.#netlink.connection.request(requests, options);
    const again: RouteRow[] = [];
    const blocked: { change: Change; error: NetlinkError }[] = [];
    for (const [index, change] of changes.entries()) {
      const error = results[index];
      if (error === undefined) {
        this.#succeed(change);
        continue;
      }
      if (change.nexthop !== undefined) this.#nexthops.release(change.nexthop);
      if (error.errno === EEXIST) blocked.push({ change, error });
      else if (error.errno === EINVAL && change.sharesNexthop && !isLastRound) {
        // the object may have gone with its link before we heard of it
        this.#isFresh = false;
        again.push(change.row);
      } else failures.push({ row: change.row, error });
    }
    if (blocked.length > 0) again.push(...(await this.#resolve(blocked, failures, isLastRound, options)));
    return again;
  }

  /** Finds the links, and makes the nexthops: a route can only go through one that is there. */
  async #prepare(
    rows: readonly RouteRow[],
    failures: RowFailure<RouteRow>[],
    options: Abortable,
  ): Promise<readonly Change[]> {
    for (const link of new Set(rows.map((row) => row.link)))
      this.#links.saw(link, await this.#netlink.links.state(link, options));
    const changes: Change[] = [];
    for (const row of rows) {
      const linkIndex = this.#links.index(row.link);
      if (linkIndex === undefined) {
        failures.push({ row, error: new NetlinkError(this.#describe(row), ENODEV, `there is no link ${row.link}`) });
        continue;
      }
      const nexthop =
        row.gateway !== undefined && this.#usesNexthops
          ? this.#nexthops.hold(linkIndex, row.gateway, row.onlink)
          : undefined;
      const key = this.key(row);
      const sharesNexthop = nexthop?.isMade ?? false;
      changes.push({ row, key, linkIndex, nexthop, sharesNexthop, replaces: this.#own.has(key) });
    }
    const wanted = new Set(changes.flatMap(({ nexthop }) => (nexthop === undefined ? [] : [nexthop])));
    const broken = await this.#nexthops.make(wanted, options);
    if (broken.size === 0) return changes;
    return changes.filter(({ row, nexthop }) => {
      const error = nexthop === undefined ? undefined : broken.get(nexthop);
      if (nexthop === undefined || error === undefined) return true;
      this.#nexthops.release(nexthop);
      failures.push({ row, error: new NetlinkError(this.#describe(row), error.errno, error.reason) });
      return false;
    });
  }

  #succeed({ key, row, linkIndex, nexthop }: Change): void {
    const former = this.#own.get(key);
    if (former?.nexthop !== undefined) this.#nexthops.release(former.nexthop);
    this.#own.set(key, { row, protocol: ROUTE_PROTOCOL, linkIndex, nexthop, nexthopId: nexthop?.id });
    this.#adopted.delete(key);
    this.#conflicts.delete(key);
  }

  /** Something is there that we did not know to be ours: adopts it, or tells who is in the way. @returns what may be tried again */
  async #resolve(
    blocked: readonly { change: Change; error: NetlinkError }[],
    failures: RowFailure<RouteRow>[],
    isLastRound: boolean,
    options: Abortable,
  ): Promise<readonly RouteRow[]> {
    const again: RouteRow[] = [];
    const existing = await this.#readExisting(
      blocked.map(({ change }) => change),
      options,
    );
    for (const { change, error } of blocked) {
      const { row, key } = change;
      const other = existing.get(key);
      const isOurs =
        other?.own !== undefined && (other.own.protocol === ROUTE_PROTOCOL || this.#scope.adoptable(other.route));
      if (other?.own !== undefined && other.own.protocol === RTPROT_BOOT && this.equal(row, other.own.row)) {
        this.#own.set(key, other.own);
        this.#adopted.add(key);
        this.#conflicts.delete(key);
      } else if (other !== undefined && !isOurs) {
        this.#conflicts.add(key);
        const reason = `conflict: ${formatRoute(other.route)} is not ours`;
        failures.push({ row, error: new NetlinkError(error.request, EEXIST, reason) });
      } else if (isLastRound) {
        failures.push({ row, error });
      } else {
        this.#isFresh = false;
        again.push(row);
      }
    }
    return again;
  }

  /** What stands at the destinations of these changes, whoever made it. */
  async #readExisting(changes: readonly Change[], options: Abortable) {
    const wanted = new Set(changes.map(({ key }) => key));
    const found: RouteValue[] = [];
    for (const family of new Set(changes.map(({ row }) => row.destination.address.family)))
      found.push(...(await dumpRoutes(this.#netlink.connection, family, undefined, options)));
    const inTheWay = found.filter((route) => hasDefaultMetric(route) && route.tos === 0);
    const names = await this.#linkNames(inTheWay, options);
    const existing = new Map<string, { readonly route: KernelRoute; readonly own: OwnRoute | undefined }>();
    for (const message of inTheWay) {
      const route = toKernelRoute(message, (index) => names.get(index));
      const key = formatPrefix(route.destination);
      const ofOurKind = message.protocol === ROUTE_PROTOCOL || message.protocol === RTPROT_BOOT;
      if (wanted.has(key)) existing.set(key, { route, own: ofOurKind ? this.#toRoute(message, route) : undefined });
    }
    return existing;
  }

  async #remove(rows: readonly RouteRow[], failures: RowFailure<RouteRow>[], options: Abortable): Promise<void> {
    if (rows.length === 0) return;
    const results = await this.#netlink.connection.request(
      rows.map((row) => this.#removeRequest(row)),
      options,
    );
    for (const [index, row] of rows.entries()) {
      const error = results[index];
      if (error !== undefined && !isGone(error)) {
        failures.push({ row, error });
        continue;
      }
      const key = this.key(row);
      const former = this.#own.get(key);
      if (former?.nexthop !== undefined) this.#nexthops.release(former.nexthop);
      this.#own.delete(key);
      this.#adopted.delete(key);
    }
  }

  #putRequest({ row, linkIndex, nexthop, replaces }: Change): NetlinkRequest {
    const { address, length } = row.destination;
    const flags = NLM_F_CREATE | (replaces ? NLM_F_REPLACE : NLM_F_EXCL);
    const hasGateway = row.gateway !== undefined;
    const value = {
      family: addressFamily(address.family),
      destinationLength: length,
      table: RT_TABLE_MAIN,
      protocol: ROUTE_PROTOCOL,
      scope: !hasGateway && routeScope(row) === "link" ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
      kind: RTN_UNICAST,
      flags: nexthop === undefined && hasGateway && row.onlink ? RTNH_F_ONLINK : 0,
      destination: address,
      linkIndex: nexthop === undefined ? linkIndex : undefined,
      gateway: nexthop === undefined ? row.gateway : undefined,
      nexthopId: nexthop?.id,
    };
    return netlinkRequest(RTM_NEWROUTE, flags, RouteMessage, value, () => this.#describe(row));
  }

  /** Names all that is known of the route, so that another to the same destination is not hit. */
  #removeRequest(row: RouteRow): NetlinkRequest {
    const own = this.#own.get(this.key(row));
    const isPlain = own !== undefined && own.nexthopId === undefined;
    const { address, length } = row.destination;
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
    return netlinkRequest(RTM_DELROUTE, 0, RouteMessage, value, () => `remove route ${this.format(row)}`);
  }

  #describe(row: RouteRow): string {
    return `add route ${this.format(row)}`;
  }

  /** Undefined if it is not ours. */
  #toOwn(message: RouteValue, names: ReadonlyMap<number, string>): OwnRoute | undefined {
    if (!hasDefaultMetric(message) || message.tos !== 0) return undefined;
    const route = toKernelRoute(this.#withHop(message), (index) => names.get(index));
    if (!this.#owns(route.destination)) return undefined;
    if (
      route.protocol === RTPROT_BOOT &&
      !this.#adopted.has(formatPrefix(route.destination)) &&
      !this.#scope.adoptable(route)
    )
      return undefined;
    return this.#toRoute(message, route);
  }

  /** Undefined if no row can say what it does. */
  #toRoute(message: RouteValue, route: KernelRoute): OwnRoute | undefined {
    const { linkIndex } = this.#withHop(message);
    if (!route.unicast || route.multipath || route.link === undefined || linkIndex === undefined) return undefined;
    const row: RouteRow = {
      destination: route.destination,
      link: route.link,
      onlink: route.onlink,
      ...(route.gateway === undefined
        ? { scope: route.scope === "global" ? "global" : "link" }
        : { gateway: route.gateway }),
    };
    const { nexthopId } = message;
    const nexthop = nexthopId === undefined ? undefined : this.#nexthops.byId(nexthopId);
    return { row, protocol: route.protocol, linkIndex, nexthop, nexthopId };
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

  #owns(destination: Prefix): boolean {
    return this.#scope.networks.some((network) => containsPrefix(network, destination));
  }

  /** Deletes objects that an earlier run left without routes; never one that anybody's route goes through. */
  async #pruneStrangers(options: Abortable): Promise<void> {
    const now = this.#clock.now();
    const strangers = this.#nexthops.takeStrangers();
    const since = new Map<number, Instant>();
    for (const { id } of strangers) since.set(id, this.#strangers.get(id) ?? now);
    const stale = strangers.filter(({ id, gateway }) => {
      const first = since.get(id) ?? now;
      return (
        now - first >= STRANGER_AGE ||
        (first === now && this.#owns({ address: gateway, length: gateway.family === 4 ? 32 : 128 }))
      );
    });
    this.#strangers = since;
    if (stale.length === 0) return;
    const inUse = await this.#nexthops.idsInUse(options);
    for (const { id } of stale) if (inUse.has(id)) since.set(id, Number.POSITIVE_INFINITY);
    await this.#nexthops.remove(
      stale.filter(({ id }) => !inUse.has(id)),
      options,
    );
  }

  #isNews(notification: Notification): boolean {
    const { type, source, start, end } = notification;
    switch (type) {
      case RTM_NEWROUTE:
      case RTM_DELROUTE:
        return this.#isRouteNews(notification);
      case RTM_NEWNEXTHOP:
      case RTM_DELNEXTHOP: {
        const [from, to] = findAttribute(source, start + NexthopMessage.headerSize, end, NHA_ID);
        return from >= 0 && this.#nexthops.byId(u32.read(source, from, to)) !== undefined;
      }
      case RTM_DELADDR:
        return this.#links.has(source.view.getUint32(start + 4, LITTLE_ENDIAN));
      default:
        return this.#links.notice(notification) !== undefined;
    }
  }

  #isRouteNews({ type, source, start, end }: Notification): boolean {
    const family = source.bytes[start];
    const protocol = source.bytes[start + 5];
    if ((family !== AF_INET && family !== AF_INET6) || source.bytes[start + 4] !== RT_TABLE_MAIN) return false;
    if ((source.view.getUint32(start + 8, LITTLE_ENDIAN) & RTM_F_CLONED) !== 0) return false;
    const message = RouteMessage.read(source, start, end);
    if (!hasDefaultMetric(message)) return false;
    const destination = { address: message.destination ?? UNSPECIFIED[family], length: message.destinationLength };
    if (!this.#owns(destination)) return false;
    const key = formatPrefix(destination);
    if (type === RTM_DELROUTE) return this.#own.has(key) || this.#conflicts.has(key);
    return protocol === ROUTE_PROTOCOL || this.#own.has(key);
  }
}

const UNSPECIFIED = { [AF_INET]: { family: 4, value: 0n }, [AF_INET6]: { family: 6, value: 0n } } as const;
