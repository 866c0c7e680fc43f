import type { Prefix } from "../../ip/prefix.ts";
import { ConfigNotFoundError, LeaseLostError, LeaseTakenError, StoreUnavailableError } from "../../lease/errors.ts";
import type { Cursor, Lease, NetworkName } from "../../lease/lease.ts";
import { formatAttributes } from "../../lease/lease-codec.ts";
import type { Abortable } from "../../lib/abortable.ts";
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
import { decode, EtcdV3Client, type EtcdV3Deps, encode, storeHeader } from "./etcd-v3-client.ts";
import { type End, type Grant, Grants } from "./grants.ts";
import { CompactedError } from "./grpc-failure.ts";
import { guardedPut, type Put, readKey, unchanged, type Write } from "./guarded-put.ts";
import { Keyspace } from "./keyspace.ts";
import { type Entry, LeaseEntries } from "./lease-entries.ts";
import { watchLeases } from "./lease-watch.ts";
import type { KeyValue, RangeResponse } from "./rpc.ts";

/** Asking for the end of a lease is a call of its own; so many are under way at once. */
const CONCURRENT_CALLS = 16;
/** A listing that is overtaken by a compaction of the history begins again, so often. */
const LISTING_ATTEMPTS = 3;

/** Leases in etcd's v3 API, keys and values as later releases of flannel have them. */
export class EtcdV3Registry implements Registry {
  readonly name: string;
  readonly leaseFormat = "later";
  readonly #client: EtcdV3Client;
  readonly #keys: Keyspace;
  readonly #entries: LeaseEntries;
  readonly #grants: Grants;

  constructor(options: EtcdOptions, deps: EtcdV3Deps) {
    this.name = `etcd v3 at ${options.endpoints.join(",")}`;
    this.#client = new EtcdV3Client(options, deps);
    this.#keys = new Keyspace(options.prefix);
    this.#entries = new LeaseEntries(this.#client, { name: this.name, logger: deps.logger });
    this.#grants = new Grants(this.#client, deps);
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
        const { entries, cursor } = await this.#entries.list(this.#keys.leases(network), { signal });
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
    const [entry] = (await this.#entries.list(this.#keys.leasesOn(network, subnet), { signal })).entries;
    return entry === undefined ? undefined : await this.#withExpiration(entry, { signal });
  }

  async createLease(network: NetworkName, claim: LeaseClaim, { signal }: Abortable): Promise<Lease> {
    const { subnet, ipv6Subnet, attributes, isReservation } = claim;
    const key = this.#keys.lease(network, claim);
    const value = encode(formatAttributes(attributes, this.leaseFormat));
    const grant = isReservation ? undefined : await this.#grants.give(key, { signal });
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
    const grant = isReservation ? undefined : await this.#grants.give(key, { signal });
    const write = { key, value, grant, guard: { key: former, revision: lease.revision }, replaces: former };
    const done = await this.#put(write, { signal });
    if (done === undefined) throw await this.#lost(former, lease, { signal });
    if (done.former !== 0n) await this.#grants.revokeIfUnused(done.former, { signal });
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

  watchLeases(network: NetworkName, since: Cursor, options: Abortable): AsyncGenerator<LeaseEvents, never> {
    const range = this.#keys.leases(network);
    const parts = {
      client: this.#client,
      entries: this.#entries,
      name: this.name,
      anyKey: this.#keys.config(""),
      range,
    };
    return watchLeases(parts, since, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.close();
  }

  async #withExpiration({ lease, grant }: Entry, { signal }: Abortable): Promise<Lease> {
    if (grant === 0n) return lease;
    return { ...lease, ...(await this.#grants.endOf(grant, { signal })) };
  }

  #put(write: Write, options: Abortable): Promise<Put | undefined> {
    return guardedPut(this.#client, this.#grants, write, options);
  }

  #get(key: string, options: Abortable): Promise<KeyValue | undefined> {
    return readKey(this.#client, key, options);
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

function ending(grant: Grant | undefined): Partial<End> {
  return grant === undefined ? {} : { expiresAt: grant.expiresAt, expiration: grant.expiration };
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
