import type { Abortable } from "../lib/abortable.ts";
import { type BackoffRange, backoff } from "../lib/backoff.ts";
import type { Clock, Instant, Milliseconds } from "../lib/clock.ts";
import { plan } from "./plan.ts";
import type { Plan, RowFailure, Table } from "./table.ts";

const ROW_RETRY: BackoffRange = { first: 200, most: 30_000 };
/** Rows that others undo more often than this in a minute are left alone for a while: a war helps nobody. */
const UNDONE_PER_MINUTE = 5;
const TRUCE: Milliseconds = 10_000;

/** A row that could not be put or removed. */
export interface FailingRow {
  readonly row: unknown;
  readonly error: Error;
  readonly failures: number;
  readonly retryAt: Instant;
}

/** A row that was as wanted and is not any more, though nobody wanted that. */
export interface UndoneRow {
  readonly row: unknown;
  /** What is there now, if anything. */
  readonly found: unknown;
  /** That it will be put back only after a pause, since it keeps happening. */
  readonly contested: boolean;
}

/** What is known of one table: what we believe it holds, which rows fail, whether it must be looked at. */
export class TableState implements Disposable {
  readonly table: Table<unknown>;
  /** Must be listed before the next plan: never looked at, or someone else changed it. */
  dirty = true;
  /** How long the last listing took. */
  listingTook: Milliseconds = 0;
  readonly #clock: Clock;
  readonly #watch: Disposable | undefined;
  #known = new Map<string, unknown>();
  #desired: readonly unknown[] = [];
  #spareUnknown = true;
  /** Keys of rows that were wanted; kept only while unknown rows are spared. */
  readonly #wantedOnce = new Set<string>();
  readonly #failing = new Map<string, FailingRow>();
  readonly #undone = new Map<string, Instant[]>();
  /** Keys are asked for again and again in every pass; rows are immutable. */
  readonly #keys = new WeakMap<object, string>();

  constructor(table: Table<unknown>, clock: Clock, onChange: () => void) {
    this.table = table;
    this.#clock = clock;
    this.#watch = table.watch?.(() => {
      this.dirty = true;
      onChange();
    });
  }

  [Symbol.dispose](): void {
    this.#watch?.[Symbol.dispose]();
  }

  get failing(): readonly FailingRow[] {
    return [...this.#failing.values()];
  }

  get size(): number {
    return this.#known.size;
  }

  /** @param spareUnknown leave rows alone that were never wanted here */
  want(rows: readonly unknown[], spareUnknown: boolean): void {
    if (spareUnknown) for (const row of this.#desired) this.#wantedOnce.add(this.#key(row));
    else this.#wantedOnce.clear();
    this.#desired = rows;
    this.#spareUnknown = spareUnknown;
  }

  /** Lists the table and tells which rows others undid since we last put them. */
  async refresh(options: Abortable): Promise<readonly UndoneRow[]> {
    this.dirty = false; // a change during the listing makes it dirty again
    const start = performance.now();
    let rows: readonly unknown[];
    try {
      rows = await this.table.list(options);
    } catch (error) {
      this.dirty = true;
      throw error;
    }
    this.listingTook = performance.now() - start;
    const before = this.#known;
    this.#known = new Map(rows.map((row) => [this.#key(row), row]));
    // A row may fail only because of what was there: look again at once.
    for (const [key, failing] of this.#failing)
      if (this.#known.has(key) !== before.has(key)) this.#failing.set(key, { ...failing, retryAt: this.#clock.now() });
    return this.#compare(before);
  }

  /** What to put and what to remove now; rows that failed wait for their time. */
  plan(): Plan<unknown> {
    const { puts, removals } = this.#pending();
    return { puts: puts.filter((row) => this.#isDue(row)), removals: removals.filter((row) => this.#isDue(row)) };
  }

  /** Applies a plan and remembers what is now true, also where half of it failed. Returns the rows that failed. */
  async apply(todo: Plan<unknown>, options: Abortable): Promise<readonly RowFailure<unknown>[]> {
    if (todo.puts.length === 0 && todo.removals.length === 0) return [];
    const failures = await this.table.apply(todo, options);
    const failed = new Map(failures.map((failure) => [this.#key(failure.row), failure]));
    for (const row of todo.puts) this.#done(row, failed, (key) => this.#known.set(key, row));
    for (const row of todo.removals) this.#done(row, failed, (key) => this.#known.delete(key));
    return failures;
  }

  /** When the next failed row wants to be tried again; Infinity if none does. */
  get nextRetry(): Instant {
    let next = Number.POSITIVE_INFINITY;
    for (const { retryAt } of this.#failing.values()) next = Math.min(next, retryAt);
    return next;
  }

  /** Forgets failures of rows that nobody wants put or removed any more. */
  forgetObsoleteFailures(): void {
    if (this.#failing.size === 0) return;
    const { puts, removals } = this.#pending();
    const pending = new Set([...puts, ...removals].map((row) => this.#key(row)));
    for (const key of this.#failing.keys()) if (!pending.has(key)) this.#failing.delete(key);
  }

  #pending(): Plan<unknown> {
    const { puts, removals } = plan(this.#keyed, this.#desired, this.#known.values());
    if (!this.#spareUnknown) return { puts, removals };
    return { puts, removals: removals.filter((row) => this.#wantedOnce.has(this.#key(row))) };
  }

  #done(row: unknown, failed: ReadonlyMap<string, RowFailure<unknown>>, remember: (key: string) => void): void {
    const key = this.#key(row);
    const failure = failed.get(key);
    if (failure === undefined) {
      this.#failing.delete(key);
      remember(key);
      return;
    }
    const failures = (this.#failing.get(key)?.failures ?? 0) + 1;
    const retryAt = this.#clock.now() + backoff(failures, ROW_RETRY);
    this.#failing.set(key, { row, error: failure.error, failures, retryAt });
  }

  #compare(before: ReadonlyMap<string, unknown>): UndoneRow[] {
    const undone: UndoneRow[] = [];
    for (const row of this.#desired) {
      const key = this.#key(row);
      if (before.get(key) !== row) continue; // was not as wanted before either
      const found = this.#known.get(key);
      if (found !== undefined && this.table.equal(row, found)) {
        this.#known.set(key, row);
        continue;
      }
      undone.push({ row, found, contested: this.#isContested(key, row) });
    }
    return undone;
  }

  #isContested(key: string, row: unknown): boolean {
    const now = this.#clock.now();
    const times = [...(this.#undone.get(key) ?? []).filter((time) => now - time < 60_000), now];
    this.#undone.set(key, times);
    if (times.length <= UNDONE_PER_MINUTE) return false;
    const error = new Error("something else keeps undoing this");
    this.#failing.set(key, { row, error, failures: 1, retryAt: now + TRUCE });
    return true;
  }

  #isDue(row: unknown): boolean {
    const failing = this.#failing.get(this.#key(row));
    if (failing === undefined || failing.retryAt <= this.#clock.now()) return true;
    return failing.row !== row && !this.table.equal(row as never, failing.row as never);
  }

  readonly #key = (row: unknown): string => {
    const cached = this.#keys.get(row as object);
    if (cached !== undefined) return cached;
    const key = this.table.key(row);
    this.#keys.set(row as object, key);
    return key;
  };

  readonly #keyed = {
    key: this.#key,
    equal: (desired: unknown, actual: unknown) => desired === actual || this.table.equal(desired, actual),
  };
}
