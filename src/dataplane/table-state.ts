import type { Abortable } from "../lib/abortable.ts";
import { type BackoffRange, backoff } from "../lib/backoff.ts";
import type { Clock, Instant, Milliseconds } from "../lib/clock.ts";
import { plan } from "./plan.ts";
import { type FailingRow, RowFailures } from "./row-failures.ts";
import type { Table } from "./table.ts";
import { Wars } from "./wars.ts";

const TABLE_RETRY: BackoffRange = { first: 200, most: 30_000 };
/** When others changed a table, rows that failed wait no longer than this after they were tried. */
const SOON: Milliseconds = 200;

/** A row that was as wanted and is not any more, though nobody wanted that. */
export interface UndoneRow {
  readonly row: unknown;
  /** What is there now, if anything. */
  readonly found: unknown;
}

/** What others did since we last looked. */
export interface Undone {
  /** To be put back at once. */
  readonly repaired: readonly UndoneRow[];
  /** Undone once too often, and now left alone for a while; not again the next times. */
  readonly contested: readonly UndoneRow[];
}

interface Entry {
  readonly key: string;
  readonly row: unknown;
  /** The last comparison in which it was wanted; 0 if it never was. */
  wantedIn: number;
}

/** What is known of one table: what we believe it holds, what of that is not as wanted, which rows fail, whether it must be looked at. */
export class TableState implements Disposable {
  readonly table: Table<unknown>;
  /** Must be listed before the next change: never looked at, or someone else changed it. */
  dirty = true;
  /** How long the last listing took. */
  listingTook: Milliseconds = 0;
  /** When it was listed last. */
  #listedAt: Instant;
  readonly #clock: Clock;
  readonly #watch: Disposable | undefined;
  /** What the table holds, by key. */
  #known = new Map<string, Entry>();
  /** The same by the row object itself: in a small pass nearly every wanted row is found here, without its key being computed. */
  #placed = new Map<unknown, Entry>();
  #desired: readonly unknown[] = [];
  #spareUnknown = true;
  /** Comparisons so far. */
  #round = 0;
  /** What differs, as of the last comparison and what was done since. */
  #puts = new Map<string, Entry>();
  #removals = new Map<string, Entry>();
  #isCompared = false;
  /** Keys of a batch that failed as a whole: they may be there. */
  readonly #uncertain = new Set<string>();
  readonly #failures: RowFailures;
  readonly #wars = new Wars();
  /** Whole-table failures in a row. */
  #broken = 0;
  #restsUntil: Instant = Number.NEGATIVE_INFINITY;

  /** @param onChange is told when someone else changed the table */
  constructor(table: Table<unknown>, clock: Clock, onChange: () => void) {
    this.table = table;
    this.#clock = clock;
    this.#listedAt = clock.now();
    this.#failures = new RowFailures(table.longestRetry);
    this.#watch = table.watch?.(() => {
      this.dirty = true;
      onChange();
    });
  }

  [Symbol.dispose](): void {
    this.#watch?.[Symbol.dispose]();
  }

  get failing(): readonly FailingRow[] {
    return this.#failures.rows;
  }

  /** Whether the table is as wanted, as far as we know. */
  get isSettled(): boolean {
    return !this.dirty && this.#failures.size === 0;
  }

  /** @param spareUnknown leave rows alone that were never wanted here */
  want(rows: readonly unknown[], spareUnknown: boolean): void {
    if (rows !== this.#desired) this.#isCompared = false;
    this.#desired = rows;
    this.#spareUnknown = spareUnknown;
  }

  /** Whether the table as a whole failed lately and should be left alone for now. */
  isResting(now: Instant): boolean {
    return this.#restsUntil > now;
  }

  /** When something that failed wants to be tried again; Infinity if nothing does. */
  get nextRetry(): Instant {
    return this.#broken > 0 ? this.#restsUntil : this.#failures.nextRetry;
  }

  /** Whether it is left out when everything is compared, since it says itself how often that may be. */
  get hasOwnPace(): boolean {
    return this.table.resyncEvery !== undefined;
  }

  /** When its own pace wants it compared; Infinity if it has none, and while it rests. */
  get nextResync(): Instant {
    const { resyncEvery } = this.table;
    return resyncEvery === undefined || this.#broken > 0 ? Number.POSITIVE_INFINITY : this.#listedAt + resyncEvery;
  }

  /** The table could not be listed or written at all. */
  failed(): void {
    this.dirty = true;
    this.#broken++;
    const most = Math.max(TABLE_RETRY.most, this.table.longestRetry ?? 0);
    this.#restsUntil = this.#clock.now() + backoff(this.#broken, { ...TABLE_RETRY, most });
  }

  worked(): void {
    this.#broken = 0;
    this.#restsUntil = Number.NEGATIVE_INFINITY;
  }

  /** Lists the table and tells what others undid since. */
  async refresh(options: Abortable): Promise<Undone> {
    this.dirty = false; // a change during the listing makes it dirty again
    const start = this.#clock.now();
    this.#listedAt = start;
    const rows = await this.table.list(options);
    this.listingTook = this.#clock.now() - start;
    const before = this.#known;
    this.#learn(rows);
    this.#failures.retryAfter(SOON);
    return this.#undoneSince(before);
  }

  /** What the rows stand on was made just now: those that failed, perhaps for want of it, are due. */
  retryNow(): void {
    this.#failures.retryAfter(0);
  }

  /** Puts what is missing or different, but for rows that failed and wait for their time. Returns the rows now in place. */
  async fill(options: Abortable): Promise<readonly unknown[]> {
    const puts = this.#due(this.#pendingPuts());
    const done = await this.#apply(puts, { puts: puts.map(({ row }) => row), removals: [] }, options);
    if (done.length === this.#puts.size) this.#puts.clear();
    else for (const { key } of done) this.#puts.delete(key);
    for (const entry of done) this.#place(entry);
    return done.map(({ row }) => row);
  }

  /** Removes what is not wanted, likewise. Returns the rows now gone. */
  async empty(options: Abortable): Promise<readonly unknown[]> {
    const removals = this.#due(this.#pendingRemovals());
    const done = await this.#apply(removals, { puts: [], removals: removals.map(({ row }) => row) }, options);
    for (const entry of done) {
      this.#removals.delete(entry.key);
      this.#displace(entry.key);
    }
    return done.map(({ row }) => row);
  }

  /** Forgets failures of rows that nobody wants put or removed any more. */
  forgetObsoleteFailures(): void {
    if (this.#failures.size === 0) return;
    const pending = new Set([...this.#pendingPuts(), ...this.#pendingRemovals()].map(({ key }) => key));
    this.#failures.keepOnly(pending);
  }

  async #apply(
    entries: readonly Entry[],
    todo: Parameters<Table<unknown>["apply"]>[0],
    options: Abortable,
  ): Promise<readonly Entry[]> {
    if (entries.length === 0) return [];
    try {
      const failed = await this.table.apply(todo, options);
      if (failed.length === 0 && this.#failures.size === 0) return entries;
      const failures = new Map(failed.map(({ row, error }) => [this.table.key(row), error]));
      const done: Entry[] = [];
      const now = this.#clock.now();
      for (const entry of entries) {
        const error = failures.get(entry.key);
        if (error === undefined) done.push(entry);
        else this.#failures.add(entry.key, entry.row, error, now);
        if (error === undefined) this.#failures.delete(entry.key);
        failures.delete(entry.key);
      }
      for (const [key, error] of failures) this.#lostByTheWay(key, error, now);
      return done;
    } catch (error) {
      for (const { key } of entries) this.#uncertain.add(key);
      throw error;
    }
  }

  /** A row that was in place and that the batch, which was not about it, took away. */
  #lostByTheWay(key: string, error: Error, now: Instant): void {
    const entry = this.#known.get(key);
    if (entry === undefined) return;
    this.#displace(key);
    this.#isCompared = false;
    this.#failures.add(key, entry.row, error, now);
  }

  #pendingPuts(): readonly Entry[] {
    this.#compare();
    return [...this.#puts.values()];
  }

  #pendingRemovals(): readonly Entry[] {
    this.#compare();
    const all = [...this.#removals.values()];
    return this.#spareUnknown ? all.filter((entry) => entry.wantedIn > 0) : all;
  }

  #due(entries: readonly Entry[]): readonly Entry[] {
    if (this.#failures.size === 0) return entries;
    const now = this.#clock.now();
    return entries.filter(({ key, row }) => this.#failures.isDue(key, row, now, this.table));
  }

  /** Finds what differs. Rows that are in place are known by identity, so that the cost lies in what is new. */
  #compare(): void {
    if (this.#isCompared) return;
    this.#isCompared = true;
    const round = ++this.#round;
    const unplaced = new Map<string, Entry>();
    let kept = 0;
    for (const row of this.#desired) {
      const entry = this.#placed.get(row);
      if (entry === undefined) {
        const key = this.table.key(row);
        if (!unplaced.has(key)) unplaced.set(key, { key, row, wantedIn: round });
      } else if (entry.wantedIn !== round) {
        entry.wantedIn = round;
        kept++;
      }
    }
    // Of several wanted rows with one key the one in place counts, else the first.
    if (kept > 0) for (const key of unplaced.keys()) if (this.#known.get(key)?.wantedIn === round) unplaced.delete(key);
    this.#puts = unplaced;
    this.#removals = new Map();
    if (kept === this.#placed.size) return; // nothing is there that is not wanted
    const others = [...this.#placed.values()].filter((entry) => entry.wantedIn !== round);
    const { puts, removals } = plan(this.#entries, unplaced.values(), others);
    for (const entry of removals) this.#removals.set(entry.key, entry);
    if (puts.length === unplaced.size) return;
    this.#puts = new Map(puts.map((entry) => [entry.key, entry]));
    for (const entry of unplaced.values()) if (!this.#puts.has(entry.key)) this.#place(entry);
  }

  readonly #entries = {
    key: (entry: Entry) => entry.key,
    equal: (desired: Entry, actual: Entry) => this.table.equal(desired.row, actual.row),
  };

  #place(entry: Entry): void {
    this.#displace(entry.key);
    this.#known.set(entry.key, entry);
    this.#placed.set(entry.row, entry);
  }

  #displace(key: string): void {
    const entry = this.#known.get(key);
    if (entry === undefined) return;
    this.#known.delete(key);
    this.#placed.delete(entry.row);
  }

  #learn(rows: readonly unknown[]): void {
    const before = this.#known;
    this.#known = new Map();
    this.#placed = new Map();
    this.#isCompared = false;
    for (const row of rows) {
      const key = this.table.key(row);
      const was = before.get(key);
      const isAsWanted = was !== undefined && was.wantedIn === this.#round && this.table.equal(was.row, row);
      const wantedIn = was?.wantedIn ?? (this.#uncertain.has(key) ? this.#round : 0);
      this.#place(isAsWanted ? was : { key, row, wantedIn });
    }
    this.#uncertain.clear();
  }

  #undoneSince(before: ReadonlyMap<string, Entry>): Undone {
    const repaired: UndoneRow[] = [];
    const contested: UndoneRow[] = [];
    const now = this.#clock.now();
    this.#wars.forgetPeace(now);
    if (before.size === 0) return { repaired, contested };
    for (const { key, row } of this.#pendingPuts()) {
      const was = before.get(key);
      if (was === undefined || !this.table.equal(row, was.row)) continue; // was not as wanted before either
      const undone = { row, found: this.#known.get(key)?.row };
      const war = this.#wars.undone(key, now);
      if (war.truceUntil === undefined) repaired.push(undone);
      else this.#failures.addTruce(key, row, war.truceUntil, now);
      if (war.isNews) contested.push(undone);
    }
    return { repaired, contested };
  }
}
