import { setImmediate as immediate } from "node:timers/promises";
import { StoreUnavailableError } from "../../lease/errors.ts";
import type { Cursor, Lease, LeaseEvent } from "../../lease/lease.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Logger } from "../../lib/logger.ts";
import { EntryReader } from "../entry-reader.ts";
import { decode, type EtcdV3Client, encodeRange, storeHeader } from "./etcd-v3-client.ts";
import type { KeyRange } from "./keyspace.ts";
import { EVENT_PUT, type KeyValue, type RangeResponse } from "./rpc.ts";

/** Leases asked for at once: about a megabyte, so that neither side holds all of a large network as one message. */
const PAGE = 5000;

/** A lease and the id of the etcd lease that its key hangs on, 0 if on none. */
export interface Entry {
  readonly lease: Lease;
  readonly grant: bigint;
}

/** Reads leases from keys and values. */
export class LeaseEntries {
  readonly #client: EtcdV3Client;
  readonly #reader: EntryReader;
  readonly #name: string;

  /** @param name of the store, for messages */
  constructor(client: EtcdV3Client, { name, logger }: { readonly name: string; readonly logger: Logger }) {
    this.#client = client;
    this.#reader = new EntryReader(logger);
    this.#name = name;
  }

  /** All entries of the range at one revision, in pages; the next one is on its way while one is read. */
  async list(
    range: KeyRange,
    { signal }: Abortable,
  ): Promise<{ readonly entries: readonly Entry[]; readonly cursor: Cursor }> {
    const purpose = `list ${range.first}`;
    const { key, rangeEnd } = encodeRange(range);
    const ask = (first: Uint8Array, revision: bigint) =>
      this.#client.range({ key: first, rangeEnd, limit: BigInt(PAGE), revision }, { signal, purpose });
    const first = await ask(key, 0n);
    if (first.header === undefined) throw new StoreUnavailableError(this.#name, "an answer without a header");
    const { cluster: history, index } = storeHeader(first.header);
    const entries: Entry[] = [];
    for (let page: RangeResponse | undefined = first; page !== undefined; ) {
      const last: KeyValue | undefined = page.kvs.at(-1);
      // The next key there can be is the last one with a zero byte behind it.
      const [next]: readonly [RangeResponse | undefined, void] = await Promise.all([
        page.more && last !== undefined ? ask(Uint8Array.of(...last.key, 0), index) : undefined,
        this.#read(page.kvs, entries),
      ]);
      page = next;
    }
    return { entries, cursor: { history, index } };
  }

  /** @param range where the key stands */
  event(type: number, kv: KeyValue, range: KeyRange): readonly LeaseEvent[] {
    if (type === EVENT_PUT) {
      const lease = this.#lease(kv);
      return lease === undefined ? [] : [{ type: "added", lease }];
    }
    const subnets = this.#reader.readKey(decode(kv.key).slice(range.first.length));
    return subnets === undefined ? [] : [{ type: "removed", subnet: subnets.subnet }];
  }

  async #read(kvs: readonly KeyValue[], entries: Entry[]): Promise<void> {
    await immediate(); // lets the request for the next page go out first
    for (const kv of kvs) {
      const lease = this.#lease(kv);
      if (lease !== undefined) entries.push({ lease, grant: kv.lease });
    }
  }

  #lease(kv: KeyValue): Lease | undefined {
    const key = decode(kv.key);
    const entry = this.#reader.read(key.slice(key.lastIndexOf("/") + 1), decode(kv.value), key);
    return entry && { ...entry, isReservation: kv.lease === 0n, revision: kv.modRevision };
  }
}
