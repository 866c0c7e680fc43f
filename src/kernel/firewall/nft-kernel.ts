import type { Address } from "../../ip/address.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { NLM_F_CREATE } from "../../wire/netlink-header.ts";
import {
  NFNL_MSG_BATCH_BEGIN,
  NFNL_MSG_BATCH_END,
  NFNL_SUBSYS_NFTABLES,
  NFT_MSG_DELSETELEM,
  NFT_MSG_GETCHAIN,
  NFT_MSG_GETGEN,
  NFT_MSG_GETSETELEM,
  NFT_MSG_GETTABLE,
  NFT_MSG_NEWSET,
  NFT_MSG_NEWSETELEM,
  NFT_MSG_NEWTABLE,
  NFT_TYPE_IPV4_ADDRESS,
  NFT_TYPE_IPV6_ADDRESS,
  NftBatchMessage,
  NftChainMessage,
  NftContentMessage,
  NftElementsMessage,
  NftGenerationMessage,
  NftSetMessage,
} from "../../wire/nftables-message.ts";
import { ENOENT } from "../errno.ts";
import { NetlinkConnection, type NetlinkRequest, netlinkRequest } from "../netlink-connection.ts";
import { NetlinkError } from "../netlink-error.ts";
import { NETLINK_NETFILTER, NetlinkSocket } from "../netlink-socket.ts";

/** A base chain, or another. */
export interface NftChain {
  /** NFPROTO_* */
  readonly family: number;
  readonly table: string;
  readonly name: string;
}

export interface NftBaseChain extends NftChain {
  /** NF_INET_* */
  readonly hook: number;
}

export interface NftSetName {
  /** NFPROTO_* */
  readonly family: number;
  readonly table: string;
  readonly set: string;
}

/** What the kernel says of nftables by itself: a question costs microseconds, a program some milliseconds. */
export class NftKernel implements Disposable {
  readonly #connection: NetlinkConnection;

  private constructor(connection: NetlinkConnection) {
    this.#connection = connection;
  }

  /** @returns undefined if this kernel has no nftables */
  static async open(namespace: string | undefined, { signal }: Abortable): Promise<NftKernel | undefined> {
    let connection: NetlinkConnection;
    try {
      connection = new NetlinkConnection(new NetlinkSocket(namespace, NETLINK_NETFILTER));
    } catch {
      return undefined; // no packet filters at all
    }
    const describe = "ask for nftables";
    const answer = await connection.get(NFT_MSG_GETGEN, NftGenerationMessage, {}, { signal, describe });
    if (!(answer instanceof NetlinkError)) return new NftKernel(connection);
    connection[Symbol.dispose]();
    return undefined;
  }

  /** Every table of every family. */
  tables({ signal }: Abortable): Promise<readonly Omit<NftChain, "name">[]> {
    const describe = "list tables of nftables";
    const take = ({ family, table = "" }: { readonly family: number; readonly table?: string | undefined }) => ({
      family,
      table,
    });
    return this.#connection.dump(NFT_MSG_GETTABLE, NftContentMessage, {}, take, { signal, describe });
  }

  /** The chains that packets come to by themselves. */
  baseChains({ signal }: Abortable): Promise<readonly NftBaseChain[]> {
    const describe = "list chains of nftables";
    return this.#connection.dump(
      NFT_MSG_GETCHAIN,
      NftChainMessage,
      {},
      ({ family, table = "", name = "", hook }) =>
        hook?.number === undefined ? undefined : { family, table, name, hook: hook.number },
      { signal, describe },
    );
  }

  async hasTable({ family, table }: Omit<NftChain, "name">, { signal }: Abortable): Promise<boolean> {
    const describe = `look up table ${table}`;
    return isThere(
      await this.#connection.get(NFT_MSG_GETTABLE, NftContentMessage, { family, table }, { signal, describe }),
    );
  }

  async hasChain({ family, table, name }: NftChain, { signal }: Abortable): Promise<boolean> {
    const which = { family, table, name };
    const describe = `look up chain ${table} ${name}`;
    return isThere(await this.#connection.get(NFT_MSG_GETCHAIN, NftChainMessage, which, { signal, describe }));
  }

  /** The addresses in a set; none if there is no such set. */
  async elements({ family, table, set }: NftSetName, { signal }: Abortable): Promise<readonly Address[]> {
    const describe = `list set ${table} ${set}`;
    try {
      const parts = await this.#connection.dump(
        NFT_MSG_GETSETELEM,
        NftElementsMessage,
        { family, table, set },
        (part) => part.elements,
        { signal, describe },
      );
      return parts.flat();
    } catch (error) {
      if (error instanceof NetlinkError && error.errno === ENOENT) return [];
      throw error;
    }
  }

  /** Makes a table and a set of addresses in it where there is none. @param keyLength of an address in bytes */
  ensureSet({ family, table, set, keyLength }: NftSetName & { readonly keyLength: number }, options: Abortable) {
    const keyType = keyLength === 4 ? NFT_TYPE_IPV4_ADDRESS : NFT_TYPE_IPV6_ADDRESS;
    const whole = { family, table, name: set, flags: 0, keyType, keyLength, id: 1 };
    const describe = () => `make set ${table} ${set}`;
    return this.#transaction(
      [
        netlinkRequest(NFT_MSG_NEWTABLE, NLM_F_CREATE, NftContentMessage, { family, table }, describe),
        netlinkRequest(NFT_MSG_NEWSET, NLM_F_CREATE, NftSetMessage, whole, describe),
      ],
      options,
    );
  }

  changeElements(
    what: "add" | "delete",
    { family, table, set }: NftSetName,
    elements: readonly Address[],
    options: Abortable,
  ): Promise<void> {
    const [type, flags] = what === "add" ? [NFT_MSG_NEWSETELEM, NLM_F_CREATE] : [NFT_MSG_DELSETELEM, 0];
    const describe = () => `${what} ${elements.length} addresses: set ${table} ${set}`;
    return this.#transaction(
      [netlinkRequest(type, flags, NftElementsMessage, { family, table, set, elements }, describe)],
      options,
    );
  }

  #transaction(requests: readonly NetlinkRequest[], options: Abortable): Promise<void> {
    const resource = { resource: NFNL_SUBSYS_NFTABLES };
    const [begin, end] = [NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END].map((type) =>
      netlinkRequest(type, 0, NftBatchMessage, resource, () => "begin a transaction of nftables"),
    ) as [NetlinkRequest, NetlinkRequest];
    return this.#connection.transaction(begin, requests, end, options);
  }

  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]();
  }
}

function isThere(answer: unknown): boolean {
  if (!(answer instanceof NetlinkError)) return true;
  if (answer.errno === ENOENT) return false;
  throw answer;
}
