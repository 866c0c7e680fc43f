import type { MacAddress } from "../ip/mac-address.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Codec } from "../wire/codec.ts";
import {
  IFF_LOOPBACK,
  IFF_LOWER_UP,
  IFF_RUNNING,
  IFF_UP,
  LinkHeaderMessage,
  LinkMessage,
  RTEXT_FILTER_SKIP_STATS,
  RTM_GETLINK,
} from "../wire/link-message.ts";
import { AF_UNSPEC } from "../wire/netlink-header.ts";
import { ENODEV } from "./errno.ts";
import type { Link, VxlanSettings } from "./kernel.ts";
import type { NetlinkConnection } from "./netlink-connection.ts";
import { NetlinkError } from "./netlink-error.ts";

const ASK = { family: AF_UNSPEC, extendedMask: RTEXT_FILTER_SKIP_STATS } as const;

/** Asks the kernel about links, each time anew: names and indexes are never remembered here. */
export class Links {
  readonly #connection: NetlinkConnection;
  readonly #claims = new Map<string, () => boolean>();

  constructor(connection: NetlinkConnection) {
    this.#connection = connection;
  }

  /** From now on `state()` knows a link of this name only while it is ours: nothing may be put on another's that has taken the name. */
  claim(name: string, isOurs: () => boolean): void {
    this.#claims.set(name, isOurs);
  }

  async list({ signal }: Abortable): Promise<readonly Link[]> {
    const messages = await this.#connection.dump(RTM_GETLINK, LinkMessage, ASK, (link) => link, {
      signal,
      describe: "list links",
    });
    const names = new Map(messages.map((link) => [link.index, link.name ?? ""]));
    return messages.map((link) => toLink(link, names));
  }

  /** Undefined if there is no such link. */
  async find(name: string, options: Abortable): Promise<Link | undefined> {
    const message = await this.#get({ name }, `look up link ${name}`, options, LinkMessage);
    if (message === undefined) return undefined;
    const names = new Map<number, string>();
    const lowers = [message.lower, message.master, message.info?.vxlan?.lower];
    for (const index of lowers) {
      if (index === undefined || index === 0 || names.has(index)) continue;
      const lower = await this.#get({ index }, `look up link ${index}`, options, LinkMessage);
      if (lower?.name !== undefined) names.set(index, lower.name);
    }
    return toLink(message, names);
  }

  /** The index, and whether the link can carry packets: what tables need to know of the link they stand on. */
  async state(name: string, options: Abortable): Promise<LinkState | undefined> {
    if (this.#claims.get(name)?.() === false) return undefined;
    const message = await this.#get({ name }, `look up link ${name}`, options, LinkHeaderMessage);
    return message === undefined ? undefined : linkState(message.index, message.flags);
  }

  async nameOf(index: number, options: Abortable): Promise<string | undefined> {
    return (await this.#get({ index }, `look up link ${index}`, options, LinkMessage))?.name;
  }

  async #get<T>(
    which: { name: string } | { index: number },
    describe: string,
    { signal }: Abortable,
    codec: Pick<typeof LinkMessage, "size" | "write"> & Pick<Codec<T>, "read">,
  ): Promise<T | undefined> {
    const answer = await this.#connection.get(RTM_GETLINK, codec, { ...ASK, ...which }, { signal, describe });
    if (!(answer instanceof NetlinkError)) return answer;
    if (answer.errno === ENODEV) return undefined;
    throw answer;
  }
}

export interface LinkState {
  readonly index: number;
  /** Up and with carrier: otherwise the kernel keeps no nexthops on it. */
  readonly usable: boolean;
}

export function linkState(index: number, flags: number): LinkState {
  return { index, usable: (flags & IFF_UP) !== 0 && (flags & (IFF_RUNNING | IFF_LOWER_UP)) !== 0 };
}

/** @param names of the links it may refer to, by index */
export function toLink(message: LinkMessage, names: ReadonlyMap<number, string>): Link {
  const { info, flags } = message;
  const nameOf = (index: number | undefined) => (index === undefined || index === 0 ? undefined : names.get(index));
  return {
    index: message.index,
    name: message.name ?? "",
    kind: info?.kind,
    mac: message.mac?.length === MAC_TEXT_LENGTH ? (message.mac as MacAddress) : undefined,
    mtu: message.mtu ?? 0,
    up: (flags & IFF_UP) !== 0,
    running: (flags & IFF_UP) !== 0 && (flags & IFF_RUNNING) !== 0,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    master: nameOf(message.master),
    lower: message.lowerNamespace === undefined ? nameOf(message.lower ?? info?.vxlan?.lower) : undefined,
    vxlan: info?.vxlan === undefined ? undefined : toVxlan(info.vxlan, nameOf),
  };
}

/** `c6:df:8a:93:40:f8` */
export const MAC_TEXT_LENGTH = 17;

type VxlanMessage = NonNullable<NonNullable<LinkMessage["info"]>["vxlan"]>;

function toVxlan(vxlan: VxlanMessage, nameOf: (index: number | undefined) => string | undefined): VxlanSettings {
  return {
    vni: vxlan.vni ?? 0,
    local: vxlan.local ?? vxlan.local6,
    lower: nameOf(vxlan.lower),
    port: vxlan.port ?? 0,
    gbp: vxlan.gbp ?? false,
    learning: vxlan.learning === 1,
  };
}
