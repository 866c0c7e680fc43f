import type { Logger } from "../lib/logger.ts";
import { RTM_DELADDR } from "../wire/address-message.ts";
import type { Source } from "../wire/codec.ts";
import { RTM_DELLINK, RTM_NEWLINK } from "../wire/link-message.ts";
import { RTM_NEWNEIGH } from "../wire/neighbor-message.ts";
import { AF_BRIDGE, MessageCursor } from "../wire/netlink-header.ts";
import { LITTLE_ENDIAN } from "../wire/writer.ts";
import { ALL, encodeInstructions, IF_EQUAL, LOAD_8, LOAD_16, LOAD_32, NOTHING, RETURN } from "./bpf.ts";
import { EAGAIN, errnoName } from "./errno.ts";
import { attachFilter, onReadable, type Readiness } from "./libc.ts";
import { NetlinkSocket } from "./netlink-socket.ts";

/** RTNLGRP_*: links, neighbours, addresses and routes of both families, nexthop objects. */
const GROUPS = [1, 3, 5, 9, 7, 11] as const;
const GROUP_NEXTHOP = 32;
/** RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF: settings of links. */
const GROUPS_NETCONF = [24, 25] as const;

/** Datagrams read before the event loop has its turn again. */
const DATAGRAMS_PER_TURN = 2000;

/** One message about what somebody else did; valid only while it is being told. */
export interface Notification {
  /** RTM_NEWROUTE and so on. */
  readonly type: number;
  readonly flags: number;
  readonly source: Source;
  /** The socket that asked for it; 0 for the kernel itself. */
  readonly port: number;
  /** Where the body begins and ends. */
  readonly start: number;
  readonly end: number;
}

export interface Listener {
  /** The messages it wants to hear of, RTM_*. */
  readonly types: readonly number[];
  /** Called for thousands a second: look before decoding. */
  onNotification(notification: Notification): void;
  /** Some were lost: nothing that is remembered can be trusted. */
  onOverrun(): void;
}

export interface MonitorOptions {
  /** A path; undefined is where we are. */
  readonly namespace: string | undefined;
  /** Which part of the kernel, NETLINK_*; its routing tables if not given. */
  readonly protocol?: number;
  /** Multicast groups. */
  readonly groups: readonly number[];
  /** Those that not every kernel has. */
  readonly optionalGroups?: readonly number[];
  /** A classic BPF program that drops what nobody wants to hear, linux/filter.h. */
  readonly filter?: Uint8Array;
  readonly logger: Logger;
}

/**
 * What others change in the kernel's routing tables, and every change of links. The echo of our other requests is dropped by the
 * kernel itself. @param ownPort the socket whose doings are not told
 */
export function routeMonitor(namespace: string | undefined, ownPort: number, logger: Logger): Monitor {
  return new Monitor({
    namespace,
    groups: GROUPS,
    optionalGroups: [GROUP_NEXTHOP, ...GROUPS_NETCONF],
    filter: echoFilter(ownPort),
    logger,
  });
}

/** Tells listeners what the kernel announces. */
export class Monitor implements Disposable {
  readonly #socket: NetlinkSocket;
  readonly #listeners = new Map<number, Set<Listener>>();
  readonly #readiness: Readiness;
  readonly #logger: Logger;

  constructor({ namespace, protocol, groups, optionalGroups = [], filter, logger }: MonitorOptions) {
    this.#logger = logger;
    this.#socket = new NetlinkSocket(namespace, protocol);
    try {
      if (filter !== undefined) attachFilter(this.#socket.fd, filter);
      for (const group of groups) this.#socket.join(group);
      for (const group of optionalGroups) this.#joinIfKnown(group);
      this.#readiness = onReadable(this.#socket.fd, () => this.#read(DATAGRAMS_PER_TURN));
    } catch (error) {
      this.#socket[Symbol.dispose]();
      throw error;
    }
  }

  subscribe(listener: Listener): Disposable {
    for (const type of listener.types) {
      const listeners = this.#listeners.get(type) ?? new Set();
      this.#listeners.set(type, listeners.add(listener));
    }
    return {
      [Symbol.dispose]: () => {
        for (const type of listener.types) this.#listeners.get(type)?.delete(listener);
      },
    };
  }

  /** Tells at once everything that has happened up to now. */
  catchUp(): void {
    this.#read(Number.POSITIVE_INFINITY);
  }

  [Symbol.dispose](): void {
    this.#readiness[Symbol.dispose]();
    this.#socket[Symbol.dispose]();
    this.#listeners.clear();
  }

  #read(limit: number): void {
    for (let count = 0; count < limit; count++) {
      const size = this.#socket.receive();
      if (size === -EAGAIN) return;
      if (size < 0) this.#overrun(errnoName(-size));
      else this.#tell(size);
    }
  }

  #tell(size: number): void {
    try {
      const cursor = new MessageCursor(this.#socket.source, size);
      while (cursor.next()) {
        const listeners = this.#listeners.get(cursor.type);
        if (listeners !== undefined) for (const listener of listeners) listener.onNotification(cursor);
      }
    } catch (error) {
      this.#overrun(error);
    }
  }

  #overrun(reason: unknown): void {
    this.#logger.debug("kernel notifications were lost, all tables are read again", { reason });
    for (const listener of new Set([...this.#listeners.values()].flatMap((listeners) => [...listeners])))
      listener.onOverrun();
  }

  #joinIfKnown(group: number): void {
    try {
      this.#socket.join(group);
    } catch {
      // a kernel before 5.3 has no nexthop objects to tell of
    }
  }
}

/**
 * Nothing that `port` asked for, but for links, since a new device is news to the tables on it,
 * and for addresses that go, since a link's routes may go with them; and no new forwarding entries, whose notifications do not say who made them.
 */
function echoFilter(port: number): Uint8Array {
  const accept = 9;
  const drop = 10;
  /** A conditional step at `index` tells how many steps it leaves out. */
  const from = (index: number, target: number) => target - index - 1;
  return encodeInstructions([
    [LOAD_16, 0, 0, TYPE_OFFSET],
    [IF_EQUAL, from(1, accept), 0, asLoaded16(RTM_NEWLINK)],
    [IF_EQUAL, from(2, accept), 0, asLoaded16(RTM_DELLINK)],
    [IF_EQUAL, from(3, accept), 0, asLoaded16(RTM_DELADDR)],
    [IF_EQUAL, 0, from(4, 7), asLoaded16(RTM_NEWNEIGH)],
    [LOAD_8, 0, 0, FAMILY_OFFSET],
    [IF_EQUAL, from(6, drop), 0, AF_BRIDGE],
    [LOAD_32, 0, 0, PORT_OFFSET],
    [IF_EQUAL, from(8, drop), 0, asLoaded32(port)],
    [RETURN, 0, 0, ALL],
    [RETURN, 0, 0, NOTHING],
  ]);
}

// in struct nlmsghdr, and the first byte after it
const TYPE_OFFSET = 4;
const PORT_OFFSET = 12;
const FAMILY_OFFSET = 16;

/** BPF loads in network order what netlink keeps in the host's. */
function asLoaded32(value: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, value, LITTLE_ENDIAN);
  return view.getUint32(0, false);
}

function asLoaded16(value: number): number {
  const view = new DataView(new ArrayBuffer(2));
  view.setUint16(0, value, LITTLE_ENDIAN);
  return view.getUint16(0, false);
}
