import type { Cursor, NetworkName, Revision } from "../../lease/lease.ts";
import type { Clock, Instant, Milliseconds } from "../../lib/clock.ts";

/** One lease as a store keeps it: text under a key, with an end or without. */
export interface MemoryEntry {
  readonly value: string;
  readonly revision: Revision;
  readonly expiresAt: Instant | undefined;
}

/** A change of one key; without an entry it was removed. */
export interface MemoryChange {
  readonly index: bigint;
  readonly network: NetworkName;
  readonly key: string;
  readonly entry?: MemoryEntry;
}

interface MemoryNetwork {
  config: { readonly text: string; readonly revision: Revision } | undefined;
  readonly entries: Map<string, MemoryEntry>;
}

/** What `backup()` keeps. */
export interface MemoryBackup {
  readonly history: string;
  readonly index: bigint;
  readonly networks: ReadonlyMap<NetworkName, MemoryNetwork>;
}

/** A key-value store with revisions, time to live and a bounded history, as etcd's; many MemoryRegistry connect to one. */
export class MemoryStore {
  readonly clock: Clock;
  /** How many changes a watch can go back. */
  readonly historyLength: number;
  #history = "memory-1";
  #histories = 1;
  #index = 1n;
  #networks = new Map<NetworkName, MemoryNetwork>();
  #changes: MemoryChange[] = [];
  /** The index before the oldest change that is still known. */
  #forgotten = 1n;
  #generation = 0;
  /** When the next entry may end; never later than that. */
  #nextEnd: Instant = Number.POSITIVE_INFINITY;
  readonly #waiting = new Set<() => void>();

  constructor(options: { readonly clock: Clock; readonly historyLength?: number }) {
    this.clock = options.clock;
    this.historyLength = options.historyLength ?? 1000;
  }

  get cursor(): Cursor {
    this.#expire();
    return { history: this.#history, index: this.#index };
  }

  /** Counts the times the store was wiped or restored: connections do not survive that. */
  get generation(): number {
    return this.#generation;
  }

  config(network: NetworkName): { readonly text: string; readonly revision: Revision } | undefined {
    return this.#networks.get(network)?.config;
  }

  /** Those with a config. */
  networks(): readonly NetworkName[] {
    return [...this.#networks].flatMap(([name, { config }]) => (config === undefined ? [] : [name]));
  }

  entries(network: NetworkName): ReadonlyMap<string, MemoryEntry> {
    this.#expire();
    return this.#networks.get(network)?.entries ?? new Map<string, MemoryEntry>();
  }

  setConfig(network: NetworkName, text: string): void {
    this.#network(network).config = { text, revision: ++this.#index };
  }

  removeConfig(network: NetworkName): void {
    this.#index++;
    this.#network(network).config = undefined;
  }

  /** @param ttl none for an entry that does not end */
  put(network: NetworkName, key: string, value: string, ttl: Milliseconds | undefined): MemoryEntry {
    this.#expire();
    const index = ++this.#index;
    const expiresAt = ttl === undefined ? undefined : this.clock.now() + ttl;
    const entry = { value, revision: index, expiresAt };
    this.#network(network).entries.set(key, entry);
    this.#nextEnd = Math.min(this.#nextEnd, expiresAt ?? Number.POSITIVE_INFINITY);
    this.#record({ index, network, key, entry });
    return entry;
  }

  remove(network: NetworkName, key: string): void {
    this.#expire();
    if (this.#network(network).entries.delete(key)) this.#record({ index: ++this.#index, network, key });
  }

  /** Changes after `since`, or `undefined` if this history does not reach back to it. */
  changesSince(since: Cursor): readonly MemoryChange[] | undefined {
    this.#expire();
    if (since.history !== this.#history || since.index > this.#index || since.index < this.#forgotten) return undefined;
    return this.#changes.filter((change) => change.index > since.index);
  }

  /** Resolves when something has changed or an entry's time is over. Rejects with `signal.reason`. */
  async changed(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const either = new AbortController();
    try {
      await Promise.race([
        this.#change(AbortSignal.any([signal, either.signal])),
        this.clock.sleep(Math.max(1, this.#nextEnd - this.clock.now()), {
          signal: AbortSignal.any([signal, either.signal]),
        }),
      ]);
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    } finally {
      either.abort();
    }
  }

  /** Forgets what changed until now, as a compaction does. */
  clearHistory(): void {
    this.#changes = [];
    this.#forgotten = this.#index;
  }

  /** Empties the store; with `sameHistory` it cannot be told from the old one but by its lower index. */
  wipe(options: { readonly sameHistory?: boolean } = {}): void {
    if (options.sameHistory !== true) this.#history = `memory-${++this.#histories}`;
    this.#replace(1n, new Map());
  }

  backup(): MemoryBackup {
    this.#expire();
    return { history: this.#history, index: this.#index, networks: copy(this.#networks) };
  }

  /** Goes back to an older state of the same history. */
  restore(backup: MemoryBackup): void {
    this.#history = backup.history;
    this.#replace(backup.index, copy(backup.networks));
  }

  #replace(index: bigint, networks: Map<NetworkName, MemoryNetwork>): void {
    this.#index = index;
    this.#networks = networks;
    this.#nextEnd = this.clock.now();
    this.#changes = [];
    this.#forgotten = index;
    this.#generation++;
    this.#changed();
  }

  #network(name: NetworkName): MemoryNetwork {
    const known = this.#networks.get(name);
    if (known !== undefined) return known;
    const network: MemoryNetwork = { config: undefined, entries: new Map() };
    this.#networks.set(name, network);
    return network;
  }

  #record(change: MemoryChange): void {
    this.#changes.push(change);
    const excess = this.#changes.length - this.historyLength;
    if (excess > 0) this.#forgotten = this.#changes.splice(0, excess).at(-1)?.index ?? this.#forgotten;
    this.#changed();
  }

  #expire(): void {
    const now = this.clock.now();
    if (now < this.#nextEnd) return;
    this.#nextEnd = Number.POSITIVE_INFINITY;
    for (const [network, { entries }] of this.#networks)
      for (const [key, { expiresAt = Number.POSITIVE_INFINITY }] of entries)
        if (expiresAt > now) this.#nextEnd = Math.min(this.#nextEnd, expiresAt);
        else if (entries.delete(key)) this.#record({ index: ++this.#index, network, key });
  }

  #changed(): void {
    for (const wake of this.#waiting) wake();
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = () => {
        this.#waiting.delete(wake);
        signal.removeEventListener("abort", onAbort);
      };
      const wake = () => {
        done();
        resolve();
      };
      const onAbort = () => {
        done();
        reject(signal.reason);
      };
      this.#waiting.add(wake);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }
}

function copy(networks: ReadonlyMap<NetworkName, MemoryNetwork>): Map<NetworkName, MemoryNetwork> {
  return new Map([...networks].map(([name, { config, entries }]) => [name, { config, entries: new Map(entries) }]));
}
