import type { Plan, RowFailure, Table } from "../../dataplane/table.ts";
import { type Address, addressBits, formatAddress } from "../../ip/address.ts";
import type { Prefix } from "../../ip/prefix.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { ENOENT } from "../errno.ts";
import { NetlinkError } from "../netlink-error.ts";
import type { NftChange } from "./nft-changes.ts";
import type { NftKernel } from "./nft-kernel.ts";
import { nftFamily } from "./nft-rule.ts";
import { NFPROTO } from "./nft-table.ts";
import { NFT_PEERS, nftTableName } from "./rule.ts";

/** Elements in one transaction: an attribute holds 64 KiB, a request of ours 60,000 bytes; one of IPv6 takes 28. */
const ELEMENTS_AT_ONCE = 1_500;

type Subscribe = (listener: { concerns: (change: NftChange) => boolean; onChange: () => void }) => Disposable;

/**
 * The outer addresses of a network's peers, as a set in our table of nftables. By netlink, without a program: a peer must be in it before
 * anything is sent to that peer, and that must not wait for a program.
 */
export class NftSetTable implements Table<Address> {
  readonly name: string;
  readonly key = formatAddress;
  readonly format = formatAddress;
  readonly #nft: NftKernel;
  readonly #which: { readonly family: number; readonly table: string; readonly set: string };
  readonly #keyLength: number;
  readonly #subscribe: Subscribe;

  constructor(nft: NftKernel, network: Prefix, subscribe: Subscribe) {
    const { family } = network.address;
    this.#nft = nft;
    this.#which = { family: NFPROTO[nftFamily(family)], table: nftTableName(network), set: NFT_PEERS };
    this.#keyLength = addressBits(family) / 8;
    this.#subscribe = subscribe;
    this.name = `nftables set ${nftTableName(network)} ${NFT_PEERS}`;
  }

  equal(): boolean {
    return true; // a row is all key
  }

  list(options: Abortable): Promise<readonly Address[]> {
    return this.#nft.elements(this.#which, options);
  }

  async apply({ puts, removals }: Plan<Address>, options: Abortable): Promise<readonly RowFailure<Address>[]> {
    for (const part of inParts(puts)) await this.#add(part, options);
    if (removals.length === 0) return [];
    // One that is gone would spoil the whole transaction.
    const unwanted = new Set(removals.map(formatAddress));
    const there = (await this.list(options)).filter((row) => unwanted.has(formatAddress(row)));
    for (const part of inParts(there)) await this.#nft.changeElements("delete", this.#which, part, options);
    return [];
  }

  /** The set is made when it is missed: every transaction costs the kernel a fraction of a millisecond. */
  async #add(part: readonly Address[], options: Abortable): Promise<void> {
    try {
      await this.#nft.changeElements("add", this.#which, part, options);
    } catch (error) {
      if (!(error instanceof NetlinkError && error.errno === ENOENT)) throw error;
      await this.#nft.ensureSet({ ...this.#which, keyLength: this.#keyLength }, options);
      await this.#nft.changeElements("add", this.#which, part, options);
    }
  }

  watch(onChange: () => void): Disposable {
    const { family, table, set } = this.#which;
    const concerns = (change: NftChange) =>
      change.family === family && change.table === table && (change.owner === undefined || change.owner === set);
    return this.#subscribe({ concerns, onChange });
  }
}

function inParts(rows: readonly Address[]): readonly (readonly Address[])[] {
  const parts: (readonly Address[])[] = [];
  for (let at = 0; at < rows.length; at += ELEMENTS_AT_ONCE) parts.push(rows.slice(at, at + ELEMENTS_AT_ONCE));
  return parts;
}
