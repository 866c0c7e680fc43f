import { type BackoffRange, backoff } from "../lib/backoff.ts";
import type { Instant, Milliseconds } from "../lib/clock.ts";
import type { Table } from "./table.ts";

const ROW_RETRY: BackoffRange = { first: 200, most: 30_000 };

/** A row that could not be put or removed, or that waits because others keep undoing it. */
export interface FailingRow {
  readonly row: unknown;
  readonly error: Error;
  readonly failures: number;
  readonly triedAt: Instant;
  readonly retryAt: Instant;
  /** It did not fail: it is left alone for a while. */
  readonly isTruce: boolean;
}

/** The rows of one table that fail, by key: each backs off alone. */
export class RowFailures {
  readonly #failing = new Map<string, FailingRow>();
  readonly #retry: BackoffRange;

  /** @param longestRetry as of the table */
  constructor(longestRetry: Milliseconds = ROW_RETRY.most) {
    this.#retry = { first: ROW_RETRY.first, most: longestRetry };
  }

  get rows(): readonly FailingRow[] {
    return [...this.#failing.values()];
  }

  get size(): number {
    return this.#failing.size;
  }

  /** When the next one wants to be tried again; Infinity if there is none. */
  get nextRetry(): Instant {
    let next = Number.POSITIVE_INFINITY;
    for (const { retryAt } of this.#failing.values()) next = Math.min(next, retryAt);
    return next;
  }

  add(key: string, row: unknown, error: Error, now: Instant): void {
    const before = this.#failing.get(key);
    const failures = (before === undefined || before.isTruce ? 0 : before.failures) + 1;
    const retryAt = now + backoff(failures, this.#retry);
    this.#failing.set(key, { row, error, failures, triedAt: now, retryAt, isTruce: false });
  }

  addTruce(key: string, row: unknown, until: Instant, now: Instant): void {
    const error = new Error("something else keeps undoing this");
    this.#failing.set(key, { row, error, failures: 1, triedAt: now, retryAt: until, isTruce: true });
  }

  delete(key: string): void {
    this.#failing.delete(key);
  }

  keepOnly(keys: ReadonlySet<string>): void {
    for (const key of this.#failing.keys()) if (!keys.has(key)) this.#failing.delete(key);
  }

  /** Something changed, and a row may have failed only because of what was there before: none waits longer than this after it was tried. */
  retryAfter(wait: Milliseconds): void {
    for (const [key, failing] of this.#failing) {
      const retryAt = Math.min(failing.retryAt, failing.triedAt + wait);
      if (!failing.isTruce) this.#failing.set(key, { ...failing, retryAt });
    }
  }

  /** Whether the row may be tried now: it did not fail, its time has come, or it is not what failed. */
  isDue(key: string, row: unknown, now: Instant, table: Pick<Table<unknown>, "equal">): boolean {
    const failing = this.#failing.get(key);
    if (failing === undefined || failing.retryAt <= now) return true;
    return failing.row !== row && !table.equal(row, failing.row);
  }
}
