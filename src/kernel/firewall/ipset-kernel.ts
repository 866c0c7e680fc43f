import type { Address, Family } from "../../ip/address.ts";
import type { Abortable } from "../../lib/abortable.ts";
import {
  IPSET_CMD_ADD,
  IPSET_CMD_CREATE,
  IPSET_CMD_DEL,
  IPSET_CMD_DESTROY,
  IPSET_CMD_LIST,
  IPSET_CMD_PROTOCOL,
  IPSET_ERR_BUSY,
  IPSET_FLAG_LIST_HEADER,
  IPSET_FLAG_LIST_SETNAME,
  IPSET_PROTOCOL,
  IpsetChangeMessage,
  IpsetCreateMessage,
  IpsetMessage,
} from "../../wire/ipset-message.ts";
import { NFPROTO_IPV4, NFPROTO_IPV6 } from "../../wire/nftables-message.ts";
import { ENOENT } from "../errno.ts";
import { NetlinkConnection, type NetlinkRequest, netlinkRequest } from "../netlink-connection.ts";
import { NetlinkError } from "../netlink-error.ts";
import { NETLINK_NETFILTER, NetlinkSocket } from "../netlink-socket.ts";

/** Elements that a set of ours may hold: it takes memory for those that are in it only. */
const MOST_ELEMENTS = 1 << 24;
/** Elements in one request: an attribute holds 64 KiB, one of IPv6 takes 28 bytes. */
const ELEMENTS_AT_ONCE = 1_500;

const PROTOCOL = { protocol: IPSET_PROTOCOL } as const;

/** The kernel's sets of addresses that iptables can match, without the program ipset. Nothing is loaded into the kernel before it is used. */
export class IpsetKernel implements Disposable {
  readonly #namespace: string | undefined;
  #opened: NetlinkConnection | undefined;

  constructor(namespace: string | undefined) {
    this.#namespace = namespace;
  }

  get #connection(): NetlinkConnection {
    this.#opened ??= new NetlinkConnection(new NetlinkSocket(this.#namespace, NETLINK_NETFILTER));
    return this.#opened;
  }

  /** Whether this kernel has such sets. */
  async isThere({ signal }: Abortable): Promise<boolean> {
    try {
      const describe = "ask for ipset";
      const answer = await this.#connection.get(IPSET_CMD_PROTOCOL, IpsetMessage, PROTOCOL, { signal, describe });
      return !(answer instanceof NetlinkError);
    } catch {
      signal.throwIfAborted();
      return false; // no packet filters at all
    }
  }

  /** The names of all sets of the namespace. */
  async names({ signal }: Abortable): Promise<readonly string[]> {
    const which = { ...PROTOCOL, flags: IPSET_FLAG_LIST_SETNAME };
    const describe = "list sets of ipset";
    return await this.#connection.dump(IPSET_CMD_LIST, IpsetMessage, which, ({ name }) => name, { signal, describe });
  }

  /** The addresses in a set; none if there is no such set. */
  async list(name: string, options: Abortable): Promise<readonly Address[]> {
    const parts = await this.#look(name, 0, ({ elements }) => elements, options);
    return parts.flat();
  }

  /** How many there are, which costs the kernel next to nothing; undefined if there is no such set. */
  async count(name: string, options: Abortable): Promise<number | undefined> {
    const [count] = await this.#look(name, IPSET_FLAG_LIST_HEADER, ({ state }) => state?.count, options);
    return count;
  }

  async #look<T>(
    name: string,
    flags: number,
    take: (answer: ReturnType<typeof IpsetMessage.read>) => T | undefined,
    { signal }: Abortable,
  ): Promise<readonly T[]> {
    const describe = `list set ${name}`;
    try {
      const which = { ...PROTOCOL, name, ...(flags !== 0 && { flags }) };
      return await this.#connection.dump(IPSET_CMD_LIST, IpsetMessage, which, take, { signal, describe });
    } catch (error) {
      if (error instanceof NetlinkError && error.errno === ENOENT) return [];
      throw error;
    }
  }

  /** Makes a set of addresses if there is none. @throws {NetlinkError} if somebody's of another type has this name */
  async ensure(name: string, family: Family, options: Abortable): Promise<void> {
    const whole = {
      ...PROTOCOL,
      name,
      type: "hash:ip",
      revision: 0,
      family: family === 4 ? NFPROTO_IPV4 : NFPROTO_IPV6,
      options: { mostElements: MOST_ELEMENTS },
    };
    await this.#ask(
      [netlinkRequest(IPSET_CMD_CREATE, 0, IpsetCreateMessage, whole, () => `make set ${name}`)],
      options,
    );
  }

  /** Adding what is there and deleting what is gone succeeds. @throws {NetlinkError} ENOENT if there is no such set */
  async change(what: "add" | "delete", name: string, addresses: readonly Address[], options: Abortable): Promise<void> {
    const type = what === "add" ? IPSET_CMD_ADD : IPSET_CMD_DEL;
    const requests: NetlinkRequest[] = [];
    for (let at = 0; at < addresses.length; at += ELEMENTS_AT_ONCE) {
      const elements = addresses.slice(at, at + ELEMENTS_AT_ONCE);
      const describe = () => `${what} ${elements.length} addresses: set ${name}`;
      requests.push(netlinkRequest(type, 0, IpsetChangeMessage, { ...PROTOCOL, name, line: 0, elements }, describe));
    }
    await this.#ask(requests, options);
  }

  /** Removes a set, unless there is none, or a rule of somebody's still names it. */
  async destroy(name: string, options: Abortable): Promise<void> {
    const request = netlinkRequest(
      IPSET_CMD_DESTROY,
      0,
      IpsetMessage,
      { ...PROTOCOL, name },
      () => `remove set ${name}`,
    );
    try {
      await this.#ask([request], options);
    } catch (error) {
      if (!(error instanceof NetlinkError && (error.errno === ENOENT || error.errno === IPSET_ERR_BUSY))) throw error;
    }
  }

  async #ask(requests: readonly NetlinkRequest[], options: Abortable): Promise<void> {
    const errors = await this.#connection.request(requests, (request) => request, options);
    for (const error of errors.values()) throw error;
  }

  [Symbol.dispose](): void {
    this.#opened?.[Symbol.dispose]();
  }
}
