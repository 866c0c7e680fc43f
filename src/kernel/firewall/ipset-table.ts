import type { Plan, RowFailure, Table } from "../../dataplane/table.ts";
import { type Address, type Family, formatAddress } from "../../ip/address.ts";
import type { Prefix } from "../../ip/prefix.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { type Milliseconds, systemClock } from "../../lib/clock.ts";
import { ENOENT } from "../errno.ts";
import { NetlinkError } from "../netlink-error.ts";
import type { IpsetKernel } from "./ipset-kernel.ts";
import { ipsetName } from "./rule.ts";

/** The kernel tells nobody when a set changes. */
const LOOK_EVERY: Milliseconds = 1_000;

/** The outer addresses of a network's peers as a set that iptables matches, where there is no nftables. By netlink, as `NftSetTable`. */
export class IpsetTable implements Table<Address> {
  readonly name: string;
  readonly key = formatAddress;
  readonly format = formatAddress;
  readonly #ipset: IpsetKernel;
  readonly #set: string;
  readonly #family: Family;

  constructor(ipset: IpsetKernel, network: Prefix) {
    this.#ipset = ipset;
    this.#set = ipsetName(network);
    this.#family = network.address.family;
    this.name = `ipset ${this.#set}`;
  }

  equal(): boolean {
    return true; // a row is all key
  }

  list(options: Abortable): Promise<readonly Address[]> {
    return this.#ipset.list(this.#set, options);
  }

  async apply({ puts, removals }: Plan<Address>, options: Abortable): Promise<readonly RowFailure<Address>[]> {
    for (const [what, rows] of [
      ["add", puts],
      ["delete", removals],
    ] as const)
      if (rows.length > 0) await this.#change(what, rows, options);
    return [];
  }

  async #change(what: "add" | "delete", rows: readonly Address[], options: Abortable): Promise<void> {
    try {
      await this.#ipset.change(what, this.#set, rows, options);
    } catch (error) {
      if (!(error instanceof NetlinkError && error.errno === ENOENT)) throw error;
      if (what === "delete") return;
      await this.#ipset.ensure(this.#set, this.#family, options);
      await this.#ipset.change(what, this.#set, rows, options);
    }
  }

  /** Calls back when the number of elements changed, also by our own doing; one that takes another's place is found at the next resync. */
  watch(onChange: () => void): Disposable {
    const unwatched = new AbortController();
    void this.#follow(onChange, unwatched).catch(() => {}); // rejects by the signal, or when the socket is closed
    return { [Symbol.dispose]: () => unwatched.abort() };
  }

  async #follow(onChange: () => void, options: Abortable): Promise<never> {
    for (let before = await this.#ipset.count(this.#set, options); ; ) {
      await systemClock.sleep(LOOK_EVERY, options);
      const now = await this.#ipset.count(this.#set, options);
      if (now !== before) onChange();
      before = now;
    }
  }
}
