import type { Prefix } from "../../ip/prefix.ts";
import {
  ConfigNotFoundError,
  HistoryLostError,
  LeaseLostError,
  LeaseTakenError,
  StoreRefusedError,
  StoreUnavailableError,
} from "../../lease/errors.ts";
import { type Cursor, LEASE_TTL, type Lease, type LeaseEvent, type NetworkName } from "../../lease/lease.ts";
import { formatAttributes, formatLeaseKey } from "../../lease/lease-codec.ts";
import type { LeaseFormat } from "../../lease/subnet-manager.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Milliseconds } from "../../lib/clock.ts";
import type { Logger } from "../../lib/logger.ts";
import { EntryReader } from "../entry-reader.ts";
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
import type { MemoryChange, MemoryEntry, MemoryStore } from "./memory-store.ts";

/**
 * How the way to the store is: `down` refuses connections, `silent` swallows every packet, `refused` does not like our password,
 * `answers-lost` does what it is asked but the answer never comes.
 */
export type Connection = "up" | "down" | "silent" | "refused" | "answers-lost";

const CALL_TIMEOUT: Milliseconds = 5_000;
const SILENCE_NOTICED: Milliseconds = 15_000;

/** One host's connection to a store in memory, with everything that can go wrong with one. */
export class MemoryRegistry implements Registry {
  readonly name = "memory";
  readonly leaseFormat: LeaseFormat;
  readonly #store: MemoryStore;
  readonly #reader: EntryReader;
  #connection: Connection = "up";
  /** Aborts when the present connection ends. */
  #connected = new AbortController();

  constructor(store: MemoryStore, options: { readonly logger: Logger; readonly leaseFormat?: LeaseFormat }) {
    this.#store = store;
    this.#reader = new EntryReader(options.logger);
    this.leaseFormat = options.leaseFormat ?? "0.7";
  }

  get connection(): Connection {
    return this.#connection;
  }

  set connection(connection: Connection) {
    this.#connection = connection;
    this.#connected.abort(new StoreUnavailableError(this.name, "connection lost"));
    this.#connected = new AbortController();
  }

  getConfig(network: NetworkName, options: Abortable): Promise<StoredConfig> {
    return this.#call(options, () => {
      const config = this.#store.config(network);
      if (config === undefined) throw new ConfigNotFoundError(`memory:${network}/config`);
      return config;
    });
  }

  setConfig(network: NetworkName, text: string, options: Abortable & { readonly expected?: bigint }): Promise<void> {
    return this.#call(options, () => {
      const revision = this.#store.config(network)?.revision ?? 0n;
      if (options.expected !== undefined && options.expected !== revision)
        throw new ConfigConflictError(`the config has revision ${revision}, not ${options.expected}`);
      this.#store.setConfig(network, text);
    });
  }

  listNetworks(options: Abortable): Promise<NetworkListing> {
    return this.#call(options, () => ({
      networks: this.#store
        .networks()
        .filter((name) => name !== "")
        .toSorted(),
      cursor: this.#store.cursor,
    }));
  }

  listLeases(network: NetworkName, options: Abortable): Promise<LeaseListing> {
    return this.#call(options, () => {
      const entries = this.#store.entries(network);
      const leases = [...entries].flatMap(([key, entry]) => this.#lease(key, entry) ?? []);
      return { leases, cursor: this.#store.cursor };
    });
  }

  getLease(network: NetworkName, subnet: Prefix, options: Abortable): Promise<Lease | undefined> {
    return this.#call(options, () => {
      const found = this.#entryOn(network, subnet);
      return found && this.#lease(...found);
    });
  }

  createLease(network: NetworkName, claim: LeaseClaim, options: Abortable): Promise<Lease> {
    return this.#call(options, () => {
      if (this.#entryOn(network, claim.subnet) !== undefined) throw new LeaseTakenError(claim.subnet);
      return this.#put(network, formatLeaseKey(claim), claim);
    });
  }

  updateLease(network: NetworkName, lease: Lease, change: LeaseChange, options: Abortable): Promise<Lease> {
    return this.#call(options, () => {
      const former = this.#unchangedKey(network, lease);
      const key = formatLeaseKey(change.subnets ?? lease);
      if (key !== former) this.#store.remove(network, former);
      return this.#put(network, key, change);
    });
  }

  deleteLease(network: NetworkName, lease: Lease, options: Abortable): Promise<void> {
    return this.#call(options, () => this.#store.remove(network, this.#unchangedKey(network, lease)));
  }

  async *watchLeases(network: NetworkName, since: Cursor, { signal }: Abortable): AsyncIterable<LeaseEvents> {
    const generation = this.#store.generation;
    const changes = () => {
      if (this.#store.generation !== generation) throw new StoreUnavailableError(this.name, "connection lost");
      const found = this.#store.changesSince(cursor);
      if (found === undefined) throw new HistoryLostError(`${this.name} does not reach back to change ${cursor.index}`);
      return found;
    };
    let cursor = since;
    await this.#call({ signal }, changes);
    const connected = AbortSignal.any([signal, this.#connected.signal]);
    yield { events: [], cursor };
    for (;;) {
      signal.throwIfAborted();
      if (this.#connection !== "up") await this.#fail(signal, SILENCE_NOTICED);
      const found = changes();
      if (found.length === 0) {
        await this.#store.changed(connected).catch((error: unknown) => {
          signal.throwIfAborted();
          if (this.#connection !== "silent") throw error;
        });
        continue;
      }
      cursor = { history: cursor.history, index: found.at(-1)?.index ?? cursor.index };
      const events = found.flatMap((change) => (change.network === network ? this.#event(change) : []));
      if (events.length > 0) yield { events, cursor };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#connected.abort(new StoreUnavailableError(this.name, "closed"));
  }

  /** What `work` throws, or gives, as over a network: a turn later, if the connection allows. */
  async #call<T>({ signal }: Abortable, work: () => T): Promise<T> {
    signal.throwIfAborted();
    await new Promise((resolve) => setImmediate(resolve));
    signal.throwIfAborted();
    if (this.#connection === "up") return work();
    if (this.#connection === "answers-lost") work();
    return await this.#fail(signal, CALL_TIMEOUT);
  }

  async #fail(signal: AbortSignal, patience: Milliseconds): Promise<never> {
    if (this.#connection === "refused") throw new StoreRefusedError(this.name, "wrong password");
    if (this.#connection === "down") throw new StoreUnavailableError(this.name, "connection refused");
    await this.#store.clock.sleep(patience, { signal });
    throw new StoreUnavailableError(this.name, "no answer");
  }

  /** By its key alone, or followed by an IPv6 subnet. */
  #entryOn(network: NetworkName, subnet: Prefix): readonly [key: string, entry: MemoryEntry] | undefined {
    const key = formatLeaseKey({ subnet });
    return [...this.#store.entries(network)].find(([each]) => each === key || each.startsWith(`${key}&`));
  }

  #put(network: NetworkName, key: string, { attributes, isReservation }: Omit<LeaseChange, "subnets">): Lease {
    const ttl = isReservation ? undefined : LEASE_TTL;
    const entry = this.#store.put(network, key, formatAttributes(attributes, this.leaseFormat), ttl);
    const lease = this.#lease(key, entry);
    if (lease === undefined) throw new Error(`cannot read back ${key}`);
    return lease;
  }

  #unchangedKey(network: NetworkName, lease: Lease): string {
    const key = formatLeaseKey(lease);
    const entry = this.#store.entries(network).get(key);
    if (entry === undefined) throw new LeaseLostError(lease.subnet, "it is gone");
    if (entry.revision !== lease.revision)
      throw new LeaseLostError(lease.subnet, `it has revision ${entry.revision}, not ${lease.revision}`);
    return key;
  }

  #lease(key: string, { value, revision, expiresAt }: MemoryEntry): Lease | undefined {
    const entry = this.#reader.read(key, value);
    if (entry === undefined) return undefined;
    if (expiresAt === undefined) return { ...entry, revision, isReservation: true };
    const { clock } = this.#store;
    const expiration = new Date(clock.wallClock().getTime() + expiresAt - clock.now());
    return { ...entry, revision, isReservation: false, expiresAt, expiration };
  }

  #event({ key, entry }: MemoryChange): readonly LeaseEvent[] {
    if (entry !== undefined) {
      const lease = this.#lease(key, entry);
      return lease === undefined ? [] : [{ type: "added", lease }];
    }
    const subnets = this.#reader.readKey(key);
    return subnets === undefined ? [] : [{ type: "removed", subnet: subnets.subnet }];
  }
}
