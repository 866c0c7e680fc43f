import type { Plan, RowFailure, Table } from "../dataplane/table.ts";
import { addressBits } from "../ip/address.ts";
import type { Abortable } from "../lib/abortable.ts";
import { RTM_DELADDR } from "../wire/address-message.ts";
import { u32 } from "../wire/codecs.ts";
import { AF_INET, AF_INET6 } from "../wire/netlink-header.ts";
import { NexthopMessage, NHA_ID, RTM_DELNEXTHOP, RTM_NEWNEXTHOP } from "../wire/nexthop-message.ts";
import {
  RouteMessage,
  RT_TABLE_MAIN,
  RTM_DELROUTE,
  RTM_F_CLONED,
  RTM_NEWROUTE,
  RTPROT_BOOT,
} from "../wire/route-message.ts";
import { findAttribute } from "../wire/schema.ts";
import { LITTLE_ENDIAN } from "../wire/writer.ts";
import { EEXIST, EINVAL, ENODEV } from "./errno.ts";
import { ROUTE_PROTOCOL, type RouteRow, type RouteScope } from "./kernel.ts";
import { LINK_NOTIFICATIONS, LinkWatch } from "./link-watch.ts";
import type { Notification } from "./monitor.ts";
import { isGone, type Netlink } from "./netlink.ts";
import { NetlinkError } from "./netlink-error.ts";
import { type NexthopIds, Nexthops } from "./nexthops.ts";
import { OwnRoutes, type RouteKey, routeKey } from "./own-routes.ts";
import { formatRoute } from "./route-format.ts";
import { describePut, putRequest, type RouteChange, removeRequest } from "./route-requests.ts";
import { destinationOf, hasDefaultMetric } from "./routes.ts";
import { routeRows } from "./rows.ts";
import { StrangerNexthops } from "./stranger-nexthops.ts";

/** Rounds of an `apply`: what the kernel did meanwhile, or who was in the way, is found out and the rest tried again. */
const ROUNDS = 3;

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
  readonly #links = new LinkWatch();
  readonly #nexthops: Nexthops;
  readonly #strangers: StrangerNexthops;
  readonly #own: OwnRoutes;
  #usesNexthops: boolean;
  /** Nothing has happened since the last look that we were told of; without watchers we are told of nothing. */
  #isFresh = false;
  #watchers = 0;
  /** Destinations where somebody else's route is in our way. */
  readonly #conflicts = new Set<RouteKey>();

  /** @param usesNexthops false for plain routes only; true if the kernel has nexthop objects */
  constructor(netlink: Netlink, ids: NexthopIds, usesNexthops: boolean, scope: RouteScope) {
    this.#netlink = netlink;
    this.#usesNexthops = usesNexthops;
    this.#nexthops = new Nexthops(netlink.connection, ids);
    this.#own = new OwnRoutes(netlink, scope, this.#nexthops, this.#links);
    this.#strangers = new StrangerNexthops(this.#nexthops, ({ gateway }) =>
      this.#own.covers({ address: gateway, length: addressBits(gateway.family) }),
    );
  }

  async list(options: Abortable): Promise<readonly RouteRow[]> {
    this.#netlink.monitor.catchUp();
    this.#isFresh = true;
    if (this.#usesNexthops) this.#usesNexthops = await this.#nexthops.read(options);
    const rows = await this.#own.read(options);
    if (this.#usesNexthops) await this.#strangers.prune(options);
    return rows;
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
    const errors = await this.#netlink.connection.request(changes, putRequest, options);
    const again: RouteRow[] = [];
    const blocked: RowFailure<RouteRow>[] = [];
    for (const [index, { row, key, linkIndex, nexthop, sharesNexthop }] of changes.entries()) {
      const error = errors.get(index);
      if (error === undefined) {
        this.#own.set(key, { row, protocol: ROUTE_PROTOCOL, linkIndex, nexthop, nexthopId: nexthop?.id });
        this.#conflicts.delete(key);
        continue;
      }
      if (nexthop !== undefined) this.#nexthops.release(nexthop);
      if (error.errno === EEXIST) blocked.push({ row, error });
      else if (error.errno === EINVAL && sharesNexthop && !isLastRound) {
        // the object may have gone with its link before we heard of it
        this.#isFresh = false;
        again.push(row);
      } else failures.push({ row, error });
    }
    if (blocked.length > 0) again.push(...(await this.#resolve(blocked, failures, isLastRound, options)));
    return again;
  }

  /** Finds the links, and makes the nexthops: a route can only go through one that is there. */
  async #prepare(
    rows: readonly RouteRow[],
    failures: RowFailure<RouteRow>[],
    options: Abortable,
  ): Promise<readonly RouteChange[]> {
    for (const link of new Set(rows.map((row) => row.link)))
      this.#links.saw(link, await this.#netlink.links.state(link, options));
    const changes: RouteChange[] = [];
    for (const row of rows) {
      const linkIndex = this.#links.index(row.link);
      if (linkIndex === undefined) {
        failures.push({ row, error: new NetlinkError(describePut(row), ENODEV, `there is no link ${row.link}`) });
        continue;
      }
      const { gateway } = row;
      const nexthop =
        gateway === undefined || !this.#usesNexthops ? undefined : this.#nexthops.hold(linkIndex, gateway, row.onlink);
      const key = routeKey(row.destination);
      const sharesNexthop = nexthop?.isMade ?? false;
      changes.push({ row, key, linkIndex, nexthop, sharesNexthop, replaces: this.#own.has(key) });
    }
    const held = new Set(changes.flatMap(({ nexthop }) => (nexthop === undefined ? [] : [nexthop])));
    const broken = await this.#nexthops.make(held, options);
    if (broken.size === 0) return changes;
    return changes.filter(({ row, nexthop }) => {
      const error = nexthop === undefined ? undefined : broken.get(nexthop);
      if (nexthop === undefined || error === undefined) return true;
      this.#nexthops.release(nexthop);
      failures.push({ row, error: new NetlinkError(describePut(row), error.errno, error.reason) });
      return false;
    });
  }

  /** Something is there that we did not know to be ours: adopts it, or tells who is in the way. @returns what may be tried again */
  async #resolve(
    blocked: readonly RowFailure<RouteRow>[],
    failures: RowFailure<RouteRow>[],
    isLastRound: boolean,
    options: Abortable,
  ): Promise<readonly RouteRow[]> {
    const again: RouteRow[] = [];
    const existing = await this.#own.readExisting(
      blocked.map(({ row }) => row),
      options,
    );
    for (const { row, error } of blocked) {
      const key = routeKey(row.destination);
      const other = existing.get(key);
      if (other?.own?.protocol === RTPROT_BOOT && this.equal(row, other.own.row)) {
        this.#own.adopt(key, other.own);
        this.#conflicts.delete(key);
      } else if (other !== undefined && !this.#own.mayTake(other)) {
        this.#conflicts.add(key);
        const reason = `conflict: ${formatRoute(other.route)} is not ours`;
        failures.push({ row, error: new NetlinkError(describePut(row), EEXIST, reason) });
      } else if (isLastRound) {
        failures.push({ row, error });
      } else {
        this.#isFresh = false;
        again.push(row);
      }
    }
    return again;
  }

  async #remove(rows: readonly RouteRow[], failures: RowFailure<RouteRow>[], options: Abortable): Promise<void> {
    if (rows.length === 0) return;
    const toRequest = (row: RouteRow) => removeRequest(row, this.#own.get(routeKey(row.destination)));
    const errors = await this.#netlink.connection.request(rows, toRequest, options);
    for (const [index, row] of rows.entries()) {
      const error = errors.get(index);
      if (error === undefined || isGone(error)) this.#own.delete(routeKey(row.destination));
      else failures.push({ row, error });
    }
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
      case RTM_DELADDR: // with its last address a link loses its routes, and nobody is told
        return this.#links.has(source.view.getUint32(start + 4, LITTLE_ENDIAN));
      default:
        return this.#links.notice(notification) !== undefined;
    }
  }

  #isRouteNews({ type, source, start, end }: Notification): boolean {
    const family = source.bytes[start];
    if ((family !== AF_INET && family !== AF_INET6) || source.bytes[start + 4] !== RT_TABLE_MAIN) return false;
    const message = RouteMessage.read(source, start, end);
    if ((message.flags & RTM_F_CLONED) !== 0 || !hasDefaultMetric(message)) return false;
    const destination = destinationOf(message);
    if (!this.#own.covers(destination)) return false;
    const key = routeKey(destination);
    if (this.#own.has(key)) return true;
    return type === RTM_DELROUTE ? this.#conflicts.has(key) : message.protocol === ROUTE_PROTOCOL;
  }
}
