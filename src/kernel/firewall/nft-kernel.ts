import type { Abortable } from "../../lib/abortable.ts";
import {
  NFT_MSG_GETCHAIN,
  NFT_MSG_GETGEN,
  NFT_MSG_GETTABLE,
  NftChainMessage,
  NftContentMessage,
  NftGenerationMessage,
} from "../../wire/nftables-message.ts";
import { ENOENT } from "../errno.ts";
import { NetlinkConnection } from "../netlink-connection.ts";
import { NetlinkError } from "../netlink-error.ts";
import { NETLINK_NETFILTER, NetlinkSocket } from "../netlink-socket.ts";

/** A base chain, or another. */
export interface NftChain {
  /** NFPROTO_* */
  readonly family: number;
  readonly table: string;
  readonly name: string;
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

  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]();
  }
}

function isThere(answer: unknown): boolean {
  if (!(answer instanceof NetlinkError)) return true;
  if (answer.errno === ENOENT) return false;
  throw answer;
}
