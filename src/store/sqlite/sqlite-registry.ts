import { randomUUID } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Prefix } from "../../ip/prefix.ts";
import { ConfigNotFoundError, HistoryLostError, LeaseTakenError } from "../../lease/errors.ts";
import { type Cursor, LEASE_TTL, type Lease, type NetworkName } from "../../lease/lease.ts";
import { formatLeaseKey } from "../../lease/lease-codec.ts";
import type { LeaseFormat } from "../../lease/subnet-manager.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { type BackoffRange, backoff } from "../../lib/backoff.ts";
import { type Clock, type Milliseconds, systemClock } from "../../lib/clock.ts";
import { Scope } from "../../lib/scope.ts";
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
import { ChangeSignal } from "./change-signal.ts";
import { Expiry } from "./expiry.ts";
import {
  cursorOf,
  leaseOn,
  nextRevision,
  removeLease,
  requireHistory,
  requireUnchanged,
  storeRow,
  wasRestored,
} from "./history.ts";
import { LeaseRows } from "./lease-rows.ts";
import { LeaseTime } from "./lease-time.ts";
import { type OpenStoreFileOptions, openStoreFile } from "./open-store-file.ts";
import type { StoreFile } from "./store-file.ts";

export interface SqliteRegistryOptions extends OpenStoreFileOptions {
  /** No lease is expired before this process has been up and awake for so long that every living owner has renewed: one renewal margin. */
  readonly grace?: Milliseconds;
  readonly ttl?: Milliseconds;
  /** How many changes a watch may lag behind. */
  readonly historyLength?: number;
}

/** How long a lease's end may be missed: nobody waits for it. */
const EXPIRY_TICK: Milliseconds = 30_000;
/** After a batch, growing while there is more, so that a storm of changes comes in few and does not become a storm of readers. */
const LULL: BackoffRange = { first: 2, most: 16 };
/** Rows that are read, parsed or told at once: a few milliseconds of work. */
const CHUNK = 2_000;

/**
 * Leases in one SQLite file of this machine, which any number of processes share.
 * @throws {UnsupportedError} if the file cannot be used, saying why; {StoreUnavailableError} if that may pass
 */
export async function openSqliteRegistry(
  file: string,
  options: SqliteRegistryOptions,
  { signal }: Abortable,
): Promise<SqliteRegistry> {
  return new SqliteRegistry(await openStoreFile(file, options, { signal }), options);
}

export class SqliteRegistry implements Registry {
  readonly name: string;
  readonly leaseFormat: LeaseFormat = "0.7";
  readonly #file: StoreFile;
  readonly #clock: Clock;
  readonly #time: LeaseTime;
  readonly #rows: LeaseRows;
  readonly #changes: ChangeSignal;
  readonly #expiry: Expiry;
  readonly #historyLength: number;
  readonly #background = new Scope();
  #isWatching = false;

  constructor(file: StoreFile, options: SqliteRegistryOptions) {
    const { clock = systemClock, logger, ttl = LEASE_TTL, grace = 60 * 60_000, historyLength = 10_000 } = options;
    this.#file = file;
    this.name = `embedded store ${file.path}`;
    this.#historyLength = historyLength;
    this.#clock = clock;
    this.#time = new LeaseTime(clock, ttl);
    this.#rows = new LeaseRows({ path: file.path, time: this.#time, format: this.leaseFormat, historyLength, logger });
    this.#changes = new ChangeSignal(file.path, { clock, logger });
    const tick = Math.min(EXPIRY_TICK, ttl / 10);
    this.#expiry = new Expiry(file, { clock, logger, time: this.#time, grace, tick, historyLength });
  }

  async getConfig(network: NetworkName, options: Abortable): Promise<StoredConfig> {
    const row = await this.#file.read((statements) => statements.config.get({ network }), options);
    if (row === undefined) throw new ConfigNotFoundError(this.#rows.shownKey(network, "config"));
    return { text: row.text, revision: BigInt(row.revision) };
  }

  async setConfig(
    network: NetworkName,
    text: string,
    options: Abortable & { readonly expected?: bigint },
  ): Promise<void> {
    await this.#file.write((statements) => {
      const revision = BigInt(statements.config.get({ network })?.revision ?? 0);
      if (options.expected !== undefined && options.expected !== revision)
        throw new ConfigConflictError(
          `${this.#rows.shownKey(network, "config")} has revision ${revision}, not ${options.expected}`,
        );
      statements.setConfig({ network, text, revision: nextRevision(statements) });
    }, options);
  }

  async listNetworks(options: Abortable): Promise<NetworkListing> {
    return await this.#file.read(
      (statements) => ({
        networks: statements.networks.all().map(({ network }) => network),
        cursor: cursorOf(storeRow(statements)),
      }),
      options,
    );
  }

  async listLeases(network: NetworkName, options: Abortable): Promise<LeaseListing> {
    const { store, rows, boot } = await this.#file.read(
      (statements, boot) => ({ store: storeRow(statements), rows: statements.leases.all({ network }), boot }),
      options,
    );
    const reading = this.#time.read();
    const leases: Lease[] = [];
    for (let start = 0; start < rows.length; start += CHUNK) {
      if (start > 0) await nextTurn(undefined, { signal: options.signal });
      for (const row of rows.slice(start, start + CHUNK)) {
        const lease = this.#rows.read(network, row, boot, reading);
        if (lease !== undefined) leases.push(lease);
      }
    }
    return { leases, cursor: cursorOf(store) };
  }

  async getLease(network: NetworkName, subnet: Prefix, options: Abortable): Promise<Lease | undefined> {
    const { row, boot } = await this.#file.read(
      (statements, boot) => ({ row: leaseOn(statements, network, subnet), boot }),
      options,
    );
    return row && this.#rows.read(network, row, boot, this.#time.read());
  }

  async createLease(network: NetworkName, claim: LeaseClaim, options: Abortable): Promise<Lease> {
    return await this.#file.write((statements, boot) => {
      if (leaseOn(statements, network, claim.subnet) !== undefined) throw new LeaseTakenError(claim.subnet);
      return this.#rows.write(statements, boot, network, claim);
    }, options);
  }

  async updateLease(
    network: NetworkName,
    lease: Lease,
    { attributes, isReservation, subnets = lease }: LeaseChange,
    options: Abortable,
  ): Promise<Lease> {
    return await this.#file.write((statements, boot) => {
      requireUnchanged(statements, network, lease);
      const former = formatLeaseKey(lease);
      if (former !== formatLeaseKey(subnets)) removeLease(statements, network, former, this.#historyLength);
      return this.#rows.write(statements, boot, network, { ...subnets, attributes, isReservation });
    }, options);
  }

  async deleteLease(network: NetworkName, lease: Lease, options: Abortable): Promise<void> {
    await this.#file.write((statements) => {
      requireUnchanged(statements, network, lease);
      removeLease(statements, network, formatLeaseKey(lease), this.#historyLength);
    }, options);
  }

  async *watchLeases(network: NetworkName, since: Cursor, { signal }: Abortable): AsyncGenerator<LeaseEvents> {
    this.#startWatching();
    let cursor = since;
    let inARow = 0;
    for (let isFirst = true; ; isFirst = false) {
      const { count } = this.#changes;
      const batch = await this.#changesAfter(network, cursor, { signal });
      cursor = batch.cursor;
      if (isFirst || batch.events.length > 0) yield batch;
      if (!batch.isLast) continue;
      if (batch.events.length > 0) await this.#clock.sleep(backoff(++inARow, LULL), { signal });
      if (this.#changes.count === count) inARow = 0;
      await this.#changes.after(count, { signal });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#background[Symbol.asyncDispose]();
    this.#changes[Symbol.dispose]();
    this.#file[Symbol.dispose]();
  }

  #startWatching(): void {
    this.#changes.follow();
    if (this.#isWatching) return;
    this.#isWatching = true;
    this.#background.spawn((signal) => this.#changes.run({ signal }));
    this.#background.spawn((signal) => this.#expiry.run({ signal }));
  }

  async #changesAfter(network: NetworkName, since: Cursor, options: Abortable) {
    const found = await this.#file.read((statements, boot) => {
      const store = storeRow(statements);
      if (wasRestored(store, since)) return "restored";
      requireHistory(store, since);
      const until = Math.min(store.revision, Number(since.index) + CHUNK);
      const rows = until > since.index ? statements.changes.all({ network, since: Number(since.index), until }) : [];
      return { until, isLast: until === store.revision, rows, boot };
    }, options);
    if (found === "restored") throw await this.#beginHistory(since, options);
    const { until, isLast, rows, boot } = found;
    const reading = this.#time.read();
    const events = rows.flatMap((row) => this.#rows.readChange(network, row, boot, reading) ?? []);
    return { events, cursor: { history: since.history, index: BigInt(until) }, isLast };
  }

  /** Else, once it has grown past `since`, a restored store could no longer be told from one that was never gone. */
  async #beginHistory(since: Cursor, options: Abortable): Promise<HistoryLostError> {
    return await this.#file.write((statements) => {
      const store = storeRow(statements);
      if (wasRestored(store, since)) statements.setHistory({ history: randomUUID() });
      return new HistoryLostError(
        `the store was restored from a backup: it was at revision ${store.revision}, before ${since.index}`,
      );
    }, options);
  }
}
