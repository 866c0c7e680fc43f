import { setImmediate as immediate } from "node:timers/promises";
import type { Prefix } from "../../ip/prefix.ts";
import {
  ConfigNotFoundError,
  HistoryLostError,
  LeaseLostError,
  LeaseTakenError,
  StoreUnavailableError,
} from "../../lease/errors.ts";
import { type Cursor, LEASE_TTL, type Lease, type LeaseEvent, type NetworkName } from "../../lease/lease.ts";
import { formatAttributes } from "../../lease/lease-codec.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Clock, Instant } from "../../lib/clock.ts";
import { describeError } from "../../lib/errors.ts";
import type { Logger } from "../../lib/logger.ts";
import { EntryReader } from "../entry-reader.ts";
import { UncertainWriteError } from "../etcd/endpoints.ts";
import type { EtcdOptions } from "../etcd/options.ts";
import {
  ConfigConflictError,
  type LeaseChange,
  type LeaseClaim,
  type LeaseEvents,
  type LeaseListing,
  type NetworkListing,
  type Registry,
  type StoredConfig,
} from "../registry.ts";
import { EtcdV3Client, type EtcdV3Deps, encode, storeHeader } from "./etcd-v3-client.ts";
import { CompactedError } from "./grpc-failure.ts";
import { type KeyRange, Keyspace } from "./keyspace.ts";
import { COMPARE_MOD_REVISION, EVENT_PUT, type KeyValue, type RangeResponse, type WatchResponse } from "./rpc.ts";

/** Leases asked for at once: about a megabyte, so that neither side holds all of a large network as one message. */
const PAGE = 5000;
/** Asking for the end of a lease is a call of its own; so many are under way at once. */
const CONCURRENT_CALLS = 16;
/** A listing that is overtaken by a compaction of the history begins again, so often. */
const LISTING_ATTEMPTS = 3;

/** A lease and the id of the etcd lease that its key hangs on, 0 if on none. */
interface Entry {
  readonly lease: Lease;
  readonly grant: bigint;
}

/** An etcd lease to hang a key on. Times are counted from before it was asked for, so that ours ends first. */
interface Grant {
  readonly id: bigint;
  readonly expiresAt: Instant;
  readonly expiration: Date;
}

/** What a conditional put came to; `former` is the id of the etcd lease that the key hung on before. */
interface Put {
  readonly revision: bigint;
  readonly former: bigint;
}

/** Leases in etcd's v3 API, keys and values as later releases of flannel have them. */
export class EtcdV3Registry implements Registry {
  readonly name: string;
  readonly leaseFormat = "later";
  readonly #client: EtcdV3Client;
  readonly #keys: Keyspace;
  readonly #entries: EntryReader;
  readonly #clock: Clock;
  readonly #logger: Logger;

  constructor(options: EtcdOptions, deps: EtcdV3Deps) {
    this.name = `etcd v3 at ${options.endpoints.join(",")}`;
    this.#client = new EtcdV3Client(options, deps);
    this.#keys = new Keyspace(options.prefix);
    this.#entries = new EntryReader(deps.logger);
    this.#clock = deps.clock;
    this.#logger = deps.logger;
  }

  async getConfig(network: NetworkName, { signal }: Abortable): Promise<StoredConfig> {
    const key = this.#keys.config(network);
    const found = await this.#get(key, { signal });
    if (found === undefined) throw new ConfigNotFoundError(key);
    return { text: decode(found.value), revision: found.modRevision };
  }

  async setConfig(
    network: NetworkName,
    text: string,
    { signal, expected }: Abortable & { readonly expected?: bigint },
  ): Promise<void> {
    const key = this.#keys.config(network);
    const value = encode(text);
    const done = await this.#put({ key, value, grant: undefined, guard: { key, revision: expected } }, { signal });
    if (done === undefined) throw new ConfigConflictError(`${key} has changed since revision ${expected}`);
  }

  async listNetworks({ signal }: Abortable): Promise<NetworkListing> {
    const all = this.#keys.all();
    const purpose = `list ${all.first}`;
    const rangeEnd = encode(all.end);
    const networks: NetworkName[] = [];
    let cursor: Cursor | undefined;
    // From name to name, not through every lease of every network.
    for (let first: string | undefined = all.first; first !== undefined; ) {
      const revision: bigint = cursor?.index ?? 0n;
      const request = { key: encode(first), rangeEnd, limit: 1n, revision };
      const { header, kvs }: RangeResponse = await this.#client.range(request, { signal, purpose });
      if (header === undefined) throw new StoreUnavailableError(this.name, "an answer without a header");
      const { cluster, index } = storeHeader(header);
      cursor ??= { history: cluster, index };
      const name: string | undefined = kvs[0] && decode(kvs[0].key).slice(all.first.length).split("/")[0];
      if (name !== undefined && (await this.#get(this.#keys.config(name), { signal })) !== undefined)
        networks.push(name);
      first = name === undefined ? undefined : `${all.first}${name}0`; // the character after the slash
    }
    return { networks: networks.toSorted(), cursor: cursor ?? { history: "", index: 0n } };
  }

  async listLeases(
    network: NetworkName,
    { signal, withExpirations = false }: Abortable & { readonly withExpirations?: boolean },
  ): Promise<LeaseListing> {
    for (let attempt = 1; ; attempt++) {
      try {
        const { entries, cursor } = await this.#list(this.#keys.leases(network), { signal });
        const leases = withExpirations
          ? await concurrently(entries, CONCURRENT_CALLS, (entry) => this.#withExpiration(entry, { signal }))
          : entries.map(({ lease }) => lease);
        return { leases, cursor };
      } catch (error) {
        if (!(error instanceof CompactedError)) throw error;
        if (attempt === LISTING_ATTEMPTS)
          throw new StoreUnavailableError(this.name, "its history is compacted faster than it can be listed");
      }
    }
  }

  async getLease(network: NetworkName, subnet: Prefix, { signal }: Abortable): Promise<Lease | undefined> {
    const [entry] = (await this.#list(this.#keys.leasesOn(network, subnet), { signal })).entries;
    return entry === undefined ? undefined : await this.#withExpiration(entry, { signal });
  }

  async createLease(network: NetworkName, claim: LeaseClaim, { signal }: Abortable): Promise<Lease> {
    const { subnet, ipv6Subnet, attributes, isReservation } = claim;
    const key = this.#keys.lease(network, claim);
    const value = encode(formatAttributes(attributes, this.leaseFormat));
    const grant = isReservation ? undefined : await this.#grant(key, { signal });
    const { first, end } = this.#keys.leasesOn(network, subnet);
    const done = await this.#put({ key, value, grant, guard: { key: first, revision: 0n, end } }, { signal });
    if (done === undefined) throw new LeaseTakenError(subnet);
    const subnets = { subnet, ...(ipv6Subnet !== undefined && { ipv6Subnet }) };
    return { ...subnets, attributes, ...ending(grant), isReservation, revision: done.revision };
  }

  async updateLease(
    network: NetworkName,
    lease: Lease,
    { attributes, isReservation, subnets: held = lease }: LeaseChange,
    { signal }: Abortable,
  ): Promise<Lease> {
    const former = this.#keys.lease(network, lease);
    const key = this.#keys.lease(network, held);
    const value = encode(formatAttributes(attributes, this.leaseFormat));
    const grant = isReservation ? undefined : await this.#grant(key, { signal });
    const write = { key, value, grant, guard: { key: former, revision: lease.revision }, replaces: former };
    const done = await this.#put(write, { signal });
    if (done === undefined) throw await this.#lost(former, lease, { signal });
    if (done.former !== 0n) await this.#revokeIfUnused(done.former, { signal });
    const { subnet, ipv6Subnet } = held;
    const subnets = { subnet, ...(ipv6Subnet !== undefined && { ipv6Subnet }) };
    return { ...subnets, attributes, ...ending(grant), isReservation, revision: done.revision };
  }

  async deleteLease(network: NetworkName, lease: Lease, { signal }: Abortable): Promise<void> {
    const key = this.#keys.lease(network, lease);
    try {
      const { succeeded } = await this.#client.txn(
        {
          compare: [unchanged({ key, revision: lease.revision })],
          success: [{ requestDeleteRange: { key: encode(key) } }],
        },
        { signal, purpose: `delete ${key}` },
      );
      if (succeeded) return;
    } catch (error) {
      if (!(error instanceof UncertainWriteError)) throw error;
      const found = await this.#get(key, { signal });
      if (found === undefined) return;
      if (found.modRevision === lease.revision) throw error.cause;
    }
    throw await this.#lost(key, lease, { signal });
  }

  async *watchLeases(network: NetworkName, since: Cursor, { signal }: Abortable): AsyncGenerator<LeaseEvents, never> {
    const range = this.#keys.leases(network);
    const purpose = `watch ${range.first}`;
    await this.#checkHistory(since, { signal });
    const request = { ...encodeRange(range), startRevision: since.index + 1n, progressNotify: true };
    let index = since.index;
    for await (const response of this.#client.watch(request, { signal, purpose })) {
      const header = response.header === undefined ? undefined : storeHeader(response.header);
      if (header !== undefined && header.cluster !== since.history) throw historyChanged(since, header.cluster);
      if (response.canceled) throw watchCanceled(this.name, since, response);
      const last = response.events.at(-1)?.kv?.modRevision;
      // An answer without events, but for the first, means that there were none up to its revision.
      if (last !== undefined) index = last;
      else if (!response.created && header !== undefined && header.index > index) index = header.index;
      const events = response.events.flatMap(({ type, kv }) => (kv === undefined ? [] : this.#event(type, kv, range)));
      yield { events, cursor: { history: since.history, index } };
    }
    throw new StoreUnavailableError(this.name, `${purpose}: ended`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.close();
  }

  /** A watch alone would wait for ever for a revision that a restored store is far from, and tell of a compaction only after it stands. */
  async #checkHistory(since: Cursor, { signal }: Abortable): Promise<void> {
    const request = { key: encode(this.#keys.config("")), countOnly: true };
    const purpose = { signal, purpose: "watch" };
    const { header } = await this.#client.range(request, purpose);
    if (header === undefined) throw new StoreUnavailableError(this.name, "an answer without a header");
    const { cluster, index } = storeHeader(header);
    if (cluster !== since.history) throw historyChanged(since, cluster);
    if (index < since.index)
      throw new HistoryLostError(`etcd is at revision ${index}, before ${since.index}: it was restored or made anew`);
    if (index === since.index) return;
    try {
      await this.#client.range({ ...request, revision: since.index + 1n }, purpose);
    } catch (error) {
      throw error instanceof CompactedError ? compacted(since, error.message) : error;
    }
  }

  async #get(key: string, { signal }: Abortable): Promise<KeyValue | undefined> {
    return (await this.#client.range({ key: encode(key) }, { signal, purpose: `read ${key}` })).kvs[0];
  }

  /** All entries of the range at one revision, in pages; the next one is on its way while one is read. */
  async #list(
    range: KeyRange,
    { signal }: Abortable,
  ): Promise<{ readonly entries: readonly Entry[]; readonly cursor: Cursor }> {
    const purpose = `list ${range.first}`;
    const { key, rangeEnd } = encodeRange(range);
    const ask = (first: Uint8Array, revision: bigint) =>
      this.#client.range({ key: first, rangeEnd, limit: BigInt(PAGE), revision }, { signal, purpose });
    const first = await ask(key, 0n);
    if (first.header === undefined) throw new StoreUnavailableError(this.name, "an answer without a header");
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

  async #read(kvs: readonly KeyValue[], entries: Entry[]): Promise<void> {
    await immediate(); // lets the request for the next page go out first
    for (const kv of kvs) {
      const lease = this.#lease(kv);
      if (lease !== undefined) entries.push({ lease, grant: kv.lease });
    }
  }

  #lease(kv: KeyValue): Lease | undefined {
    const key = decode(kv.key);
    const entry = this.#entries.read(lastPart(key), decode(kv.value), key);
    return entry && { ...entry, isReservation: kv.lease === 0n, revision: kv.modRevision };
  }

  #event(type: number, kv: KeyValue, range: KeyRange): readonly LeaseEvent[] {
    if (type === EVENT_PUT) {
      const lease = this.#lease(kv);
      return lease === undefined ? [] : [{ type: "added", lease }];
    }
    const subnets = this.#entries.readKey(decode(kv.key).slice(range.first.length));
    return subnets === undefined ? [] : [{ type: "removed", subnet: subnets.subnet }];
  }

  async #withExpiration({ lease, grant }: Entry, { signal }: Abortable): Promise<Lease> {
    if (grant === 0n) return lease;
    const purpose = `ask for the end of lease ${grant.toString(16)}`;
    const { TTL } = await this.#client.leaseTimeToLive(grant, { signal, purpose, keys: false });
    return { ...lease, ...this.#endAfter(Math.max(0, Number(TTL)), this.#clock.now()) }; // -1: it has just ended
  }

  async #grant(key: string, { signal }: Abortable): Promise<Grant> {
    const asked = this.#clock.now();
    const { ID, TTL } = await this.#client.grantLease(LEASE_TTL / 1000, { signal, purpose: `lease for ${key}` });
    return { id: ID, ...this.#endAfter(Number(TTL), asked) };
  }

  #endAfter(seconds: number, from: Instant): { readonly expiresAt: Instant; readonly expiration: Date } {
    const left = from + seconds * 1000 - this.#clock.now();
    return {
      expiresAt: from + seconds * 1000,
      expiration: new Date(Math.round(this.#clock.wallClock().getTime() + left)),
    };
  }

  /** Puts if the guard holds; undefined if not. After an uncertain outcome the store is asked what it holds, and nothing is tried twice. */
  async #put({ key, value, grant, guard, replaces = key }: Write, { signal }: Abortable): Promise<Put | undefined> {
    const lease = grant?.id ?? 0n;
    const removal = { requestDeleteRange: { key: encode(replaces), prevKv: true } };
    const put = { requestPut: { key: encode(key), value, lease, prevKv: true } };
    try {
      const { header, succeeded, responses } = await this.#client.txn(
        {
          compare: [
            ...(guard.revision === undefined ? [] : [unchanged(guard)]),
            ...(replaces === key ? [] : [unchanged({ key, revision: 0n })]),
          ],
          success: replaces === key ? [put] : [removal, put],
        },
        { signal, purpose: `write ${key}` },
      );
      const [first] = responses;
      const former = (first?.responseDeleteRange?.prevKvs[0] ?? first?.responsePut?.prevKv)?.lease ?? 0n;
      if (succeeded) return { revision: header?.revision ?? 0n, former };
    } catch (error) {
      if (error instanceof UncertainWriteError) {
        const found = await this.#get(key, { signal });
        if (found?.lease === lease && Buffer.compare(found.value, value) === 0)
          return { revision: found.modRevision, former: 0n };
        throw error.cause; // it may still happen: the grant has to stay
      }
      if (grant !== undefined && !signal.aborted) await this.#revokeIfUnused(grant.id, { signal });
      throw error;
    }
    if (grant !== undefined) await this.#revokeIfUnused(grant.id, { signal });
    return undefined;
  }

  /** Tidies up; an etcd lease that stays behind ends by itself within a day. */
  async #revokeIfUnused(id: bigint, { signal }: Abortable): Promise<void> {
    const purpose = `revoke lease ${id.toString(16)}`;
    try {
      const { keys, TTL } = await this.#client.leaseTimeToLive(id, { signal, purpose, keys: true });
      if (TTL >= 0n && keys.length === 0) await this.#client.revokeLease(id, { signal, purpose });
    } catch (error) {
      if (!signal.aborted)
        this.#logger.debug("unused etcd lease could not be revoked", { error: describeError(error) });
    }
  }

  async #lost(key: string, lease: Lease, { signal }: Abortable): Promise<LeaseLostError> {
    const found = await this.#get(key, { signal });
    return new LeaseLostError(
      lease.subnet,
      found === undefined
        ? `${key} is gone`
        : `${key} was changed at revision ${found.modRevision}, after ${lease.revision}`,
    );
  }
}

interface Write {
  readonly key: string;
  readonly value: Uint8Array;
  readonly grant: Grant | undefined;
  readonly guard: Guard;
  /** The key that goes when this one comes. */
  readonly replaces?: string;
}

/** Holds if the key's last change is `revision`, with 0 if there is no such key, and, with `end`, none from there up to `end`. */
interface Guard {
  readonly key: string;
  readonly revision: bigint | undefined;
  readonly end?: string;
}

function unchanged({ key, revision = 0n, end }: Guard) {
  return {
    target: COMPARE_MOD_REVISION,
    modRevision: revision,
    key: encode(key),
    ...(end !== undefined && { rangeEnd: encode(end) }),
  };
}

function historyChanged(since: Cursor, cluster: string): HistoryLostError {
  return new HistoryLostError(`etcd is the cluster ${cluster}, not ${since.history} any more`);
}

function compacted(since: Cursor, reason: string): HistoryLostError {
  return new HistoryLostError(`etcd's history does not reach back to ${since.index} any more: ${reason}`);
}

function watchCanceled(store: string, since: Cursor, { compactRevision, cancelReason }: WatchResponse): Error {
  if (compactRevision > 0n) return compacted(since, `compacted to ${compactRevision}`);
  return new StoreUnavailableError(store, `it refused the watch: ${cancelReason || "without a reason"}`);
}

function ending(grant: Grant | undefined): { readonly expiresAt?: Instant; readonly expiration?: Date } {
  return grant === undefined ? {} : { expiresAt: grant.expiresAt, expiration: grant.expiration };
}

function encodeRange({ first, end }: KeyRange): { readonly key: Uint8Array; readonly rangeEnd: Uint8Array } {
  return { key: encode(first), rangeEnd: encode(end) };
}

const decoder = new TextDecoder();

function decode(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

function lastPart(key: string): string {
  return key.slice(key.lastIndexOf("/") + 1);
}

/** The results in the order of `items`, `limit` calls at a time. */
async function concurrently<T, R>(items: readonly T[], limit: number, call: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const queue = items.entries();
  const worker = async () => {
    for (const [index, item] of queue) results[index] = await call(item);
  };
  await Promise.all(Array.from({ length: limit }, worker));
  return results;
}
