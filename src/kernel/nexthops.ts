import { type Address, formatAddress } from "../ip/address.ts";
import type { Abortable } from "../lib/abortable.ts";
import { AF_UNSPEC, NLM_F_CREATE, NLM_F_EXCL } from "../wire/netlink-header.ts";
import { NexthopMessage, RTM_DELNEXTHOP, RTM_GETNEXTHOP, RTM_NEWNEXTHOP } from "../wire/nexthop-message.ts";
import { RouteMessage, RTM_GETROUTE, RTNH_F_ONLINK } from "../wire/route-message.ts";
import { EEXIST, EOPNOTSUPP } from "./errno.ts";
import { ROUTE_PROTOCOL } from "./kernel.ts";
import { type NetlinkConnection, netlinkRequest } from "./netlink-connection.ts";
import { NetlinkError } from "./netlink-error.ts";
import { addressFamily } from "./routes.ts";

/** Our ids begin with our routing protocol's number, to be known at sight in `ip nexthop`. */
export const FIRST_NEXTHOP_ID = 241_000_000;
export const LAST_NEXTHOP_ID = 241_999_999;

/** Attempts to find ids that nobody took meanwhile. */
const ID_ATTEMPTS = 16;

/** A gateway on a link, one object in the kernel that many routes may go through. */
export interface Nexthop {
  /** Changes until the kernel has taken it. */
  id: number;
  readonly linkIndex: number;
  readonly gateway: Address;
  readonly onlink: boolean;
  /** Routes of ours that go through it. */
  users: number;
  isMade: boolean;
}

/** Ids are picked upwards and not again soon, so that who still remembers an old one does not hit a new one. One for a namespace. */
export class NexthopIds {
  #next = FIRST_NEXTHOP_ID;

  take(): number {
    const id = this.#next;
    this.#next = id === LAST_NEXTHOP_ID ? FIRST_NEXTHOP_ID : id + 1;
    return id;
  }

  /** Somebody, maybe an earlier run of ours, has this id. */
  saw(id: number): void {
    if (id >= this.#next && id < LAST_NEXTHOP_ID) this.#next = id + 1;
  }
}

/** The nexthop objects of one route table. Routes count as users by `hold` and `release`. */
export class Nexthops {
  readonly #connection: NetlinkConnection;
  readonly #ids: NexthopIds;
  /** By link, onlink and gateway: numbers, since this is asked for every route. */
  readonly #byKey = new Map<number, Map<number | bigint, Nexthop>>();
  readonly #byId = new Map<number, Nexthop>();
  /** Without users since they were last looked through. */
  readonly #unused = new Set<Nexthop>();

  constructor(connection: NetlinkConnection, ids: NexthopIds) {
    this.#connection = connection;
    this.#ids = ids;
  }

  byId(id: number): Nexthop | undefined {
    return this.#byId.get(id);
  }

  /**
   * Forgets all and reads those with our protocol, without users as yet.
   * @returns false if this kernel has no nexthop objects, Linux < 5.3
   */
  async read({ signal }: Abortable): Promise<boolean> {
    this.#byKey.clear();
    this.#byId.clear();
    this.#unused.clear();
    const take = (message: ReturnType<typeof NexthopMessage.read>) => {
      const { id, linkIndex, gateway, protocol, flags } = message;
      if (protocol !== ROUTE_PROTOCOL || id === undefined || linkIndex === undefined || gateway === undefined)
        return undefined;
      this.#ids.saw(id);
      const onlink = (flags & RTNH_F_ONLINK) !== 0;
      this.#byId.set(id, { id, linkIndex, gateway, onlink, users: 0, isMade: true });
      return undefined;
    };
    try {
      const options = { signal, describe: "list nexthops" };
      await this.#connection.dump(RTM_GETNEXTHOP, NexthopMessage, { family: AF_UNSPEC }, take, options);
      return true;
    } catch (error) {
      if (error instanceof NetlinkError && error.errno === EOPNOTSUPP) return false;
      throw error;
    }
  }

  /** Counts a route that was found to go through it: only then may further routes share it. */
  adopt(nexthop: Nexthop): void {
    nexthop.users++;
    const shared = this.#through(nexthop.linkIndex, nexthop.onlink);
    const key = keyOf(nexthop.gateway);
    if (!shared.has(key)) shared.set(key, nexthop);
  }

  /** Those with our protocol that no route of this table goes through: stale, or another table's. Forgotten here. */
  takeStrangers(): readonly Nexthop[] {
    const strangers = [...this.#byId.values()].filter((nexthop) => nexthop.users === 0);
    for (const { id } of strangers) this.#byId.delete(id);
    return strangers;
  }

  /** The one for a route that is about to be made; if it is new, `make` must follow. */
  hold(linkIndex: number, gateway: Address, onlink: boolean): Nexthop {
    const shared = this.#through(linkIndex, onlink);
    const key = keyOf(gateway);
    let nexthop = shared.get(key);
    if (nexthop === undefined) {
      nexthop = { id: this.#ids.take(), linkIndex, gateway, onlink, users: 0, isMade: false };
      shared.set(key, nexthop);
    }
    nexthop.users++;
    this.#unused.delete(nexthop);
    return nexthop;
  }

  release(nexthop: Nexthop): void {
    nexthop.users--;
    if (nexthop.users === 0) this.#unused.add(nexthop);
  }

  /** Makes those that are not there yet. @returns why those failed that did; they are forgotten when released */
  async make(nexthops: Iterable<Nexthop>, options: Abortable): Promise<ReadonlyMap<Nexthop, NetlinkError>> {
    const failures = new Map<Nexthop, NetlinkError>();
    let pending = [...nexthops].filter((nexthop) => !nexthop.isMade);
    for (let attempt = 1; pending.length > 0; attempt++) {
      const errors = await this.#connection.request(pending, makeRequest, options);
      const taken: Nexthop[] = [];
      for (const [index, nexthop] of pending.entries()) {
        const error = errors.get(index);
        if (error === undefined) {
          nexthop.isMade = true;
          this.#byId.set(nexthop.id, nexthop);
        } else if (error.errno === EEXIST && attempt < ID_ATTEMPTS) {
          nexthop.id = this.#ids.take();
          taken.push(nexthop);
        } else {
          failures.set(nexthop, error);
        }
      }
      pending = taken;
    }
    return failures;
  }

  /** Deletes what no route of ours goes through any more. With an object the kernel would delete its routes. */
  async removeUnused(options: Abortable): Promise<void> {
    const unused = [...this.#unused];
    this.#unused.clear();
    for (const nexthop of unused) {
      const shared = this.#through(nexthop.linkIndex, nexthop.onlink);
      const key = keyOf(nexthop.gateway);
      if (shared.get(key) === nexthop) shared.delete(key);
      this.#byId.delete(nexthop.id);
    }
    await this.remove(
      unused.filter((nexthop) => nexthop.isMade),
      options,
    );
  }

  /** What the kernel would not delete is left, and found as stale by a later look. */
  async remove(nexthops: readonly Nexthop[], options: Abortable): Promise<void> {
    await this.#connection.request(nexthops, removeRequest, options);
  }

  #through(linkIndex: number, onlink: boolean): Map<number | bigint, Nexthop> {
    const key = linkIndex * 2 + (onlink ? 1 : 0);
    let shared = this.#byKey.get(key);
    if (shared === undefined) this.#byKey.set(key, (shared = new Map()));
    return shared;
  }

  /** The ids that any route in any table goes through, or any group of nexthops. */
  async idsInUse({ signal }: Abortable): Promise<ReadonlySet<number>> {
    const ids = new Set<number>();
    for (const family of [4, 6] as const) {
      const filter = { family: addressFamily(family) };
      const take = (route: ReturnType<typeof RouteMessage.read>) => {
        if (route.nexthopId !== undefined) ids.add(route.nexthopId);
        return undefined;
      };
      await this.#connection.dump(RTM_GETROUTE, RouteMessage, filter, take, { signal, describe: "list routes" });
    }
    const takeGroup = (nexthop: ReturnType<typeof NexthopMessage.read>) => {
      for (const { id } of nexthop.group ?? []) ids.add(id);
      return undefined;
    };
    const options = { signal, describe: "list nexthops" };
    await this.#connection.dump(RTM_GETNEXTHOP, NexthopMessage, { family: AF_UNSPEC }, takeGroup, options);
    return ids;
  }
}

/** Tells gateways of both families apart: IPv6's are bigints. */
function keyOf({ family, value }: Address): number | bigint {
  return family === 4 ? Number(value) : value;
}

function makeRequest({ id, linkIndex, gateway, onlink }: Nexthop) {
  const value = {
    family: addressFamily(gateway.family),
    protocol: ROUTE_PROTOCOL,
    flags: onlink ? RTNH_F_ONLINK : 0,
    id,
    linkIndex,
    gateway,
  };
  return netlinkRequest(RTM_NEWNEXTHOP, NLM_F_CREATE | NLM_F_EXCL, NexthopMessage, value, () => {
    return `add nexthop ${id} via ${formatAddress(gateway)} link ${linkIndex}${onlink ? " onlink" : ""}`;
  });
}

function removeRequest({ id }: Nexthop) {
  return netlinkRequest(RTM_DELNEXTHOP, 0, NexthopMessage, { family: AF_UNSPEC, id }, () => `remove nexthop ${id}`);
}
