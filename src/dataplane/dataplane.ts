import type { Abortable } from "../lib/abortable.ts";
import { type BackoffRange, backoff } from "../lib/backoff.ts";
import type { Clock, Milliseconds } from "../lib/clock.ts";
import { describeError, isAbort } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import type { Layer, Plan, RowFailure } from "./table.ts";
import { type FailingRow, TableState, type UndoneRow } from "./table-state.ts";

/** A change that others made is looked at after this long, since one `ip link del` is announced a hundredfold. */
const NOTIFICATION_DELAY: Milliseconds = 20;
/** How often everything is compared though nobody announced a change. */
const RESYNC_EVERY: Milliseconds = 30_000;
/** A resync may take at most this share of a processor: large tables are compared less often. */
const RESYNC_SHARE = 0.005;
const TABLE_RETRY: BackoffRange = { first: 200, most: 30_000 };
/** Rows named in one log line. */
const ROWS_IN_LOG = 3;

export interface DataplaneOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly resyncEvery?: Milliseconds;
}

export interface WantOptions {
  /**
   * Whether rows of ours that were never wanted here are left alone: before the first full snapshot of peers, and while
   * that snapshot is not to be believed. Rows that were wanted once and are not any more always go.
   */
  readonly spareUnknown: boolean;
}

/** A row that is not as wanted, and why. */
export interface Problem {
  readonly table: string;
  readonly row: string;
  readonly error: Error;
}

/** Keeps layers true: on every change, on notifications, after failures with backoff, and at every resync. */
export class Dataplane {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #resyncEvery: Milliseconds;
  readonly #tables = new Map<unknown, TableState>();
  #order: readonly TableState[] = [];
  /** Counts every reason for a pass; a pass has seen all up to the number it began with. */
  #asked = 0;
  #seen = 0;
  #brokenPasses = 0;
  /** Somebody else changed something; it is looked at after a moment. */
  #noticed = false;
  #announced = new Map<string, string>();
  #wake: () => void = () => {};
  readonly #waiting = new Set<() => void>();

  constructor({ clock, logger, resyncEvery = RESYNC_EVERY }: DataplaneOptions) {
    this.#clock = clock;
    this.#logger = logger;
    this.#resyncEvery = resyncEvery;
  }

  /** Declares what must be in place: filled in order, emptied in reverse. Tables that are no longer named are left as they are. */
  want(layers: readonly Layer[], { spareUnknown }: WantOptions): void {
    const order = layers.map(({ table, rows }) => {
      const state = this.#tables.get(table) ?? new TableState(table, this.#clock, () => this.#notice());
      state.want(rows, spareUnknown);
      return state;
    });
    for (const [table, state] of this.#tables)
      if (!order.includes(state)) {
        state[Symbol.dispose]();
        this.#tables.delete(table);
      }
    for (const state of order) this.#tables.set(state.table, state);
    this.#order = order;
    this.#ask();
  }

  /** Compares everything with what is really there. */
  resync(): void {
    for (const state of this.#order) state.dirty = true;
    this.#ask();
  }

  /** Resolves once all that is wanted has been tried. Rejects with `signal.reason`. */
  async attempted({ signal }: Abortable): Promise<void> {
    while (this.#seen !== this.#asked || this.#noticed) await this.#nextPass(signal);
  }

  /** Resolves once all that is wanted is in place. Rejects with `signal.reason`. */
  async settled({ signal }: Abortable): Promise<void> {
    await this.attempted({ signal });
    while (this.#order.some((state) => state.dirty || state.nextRetry !== Number.POSITIVE_INFINITY)) {
      await this.#nextPass(signal);
      await this.attempted({ signal });
    }
  }

  /** What is wanted and not in place, with the reason. */
  get problems(): readonly Problem[] {
    return this.#order.flatMap(({ table, failing }) =>
      failing.map(({ row, error }: FailingRow) => ({ table: table.name, row: table.format(row), error })),
    );
  }

  /** Works until the signal aborts; what is in place stays. */
  async run({ signal }: Abortable): Promise<void> {
    try {
      for (;;) {
        signal.throwIfAborted();
        if (this.#noticed) {
          await this.#clock.sleep(NOTIFICATION_DELAY, { signal });
          this.#noticed = false;
        }
        const asked = this.#asked;
        await this.#pass({ signal });
        this.#seen = asked;
        for (const done of this.#waiting) done();
        if (this.#asked === asked && !this.#noticed) await this.#pause(signal);
      }
    } finally {
      for (const state of this.#order) state[Symbol.dispose]();
    }
  }

  async #pass(options: Abortable): Promise<void> {
    const order = this.#order;
    let allTried = true;
    for (const state of order)
      allTried = (await this.#try(state, () => this.#fill(state, options), options)) && allTried;
    for (const state of order.toReversed())
      allTried = (await this.#try(state, () => this.#empty(state, options), options)) && allTried;
    for (const state of order) state.forgetObsoleteFailures();
    this.#brokenPasses = allTried ? 0 : this.#brokenPasses + 1;
    this.#announceProblems();
  }

  async #fill(state: TableState, options: Abortable): Promise<void> {
    if (state.dirty) this.#announceUndone(state, await state.refresh(options));
    await this.#apply(state, { puts: state.plan().puts, removals: [] }, options);
  }

  async #empty(state: TableState, options: Abortable): Promise<void> {
    await this.#apply(state, { puts: [], removals: state.plan().removals }, options);
  }

  async #apply(state: TableState, plan: Plan<unknown>, options: Abortable): Promise<void> {
    const failures = await state.apply(plan, options);
    const failed = new Set(failures.map((failure: RowFailure<unknown>) => failure.row));
    for (const row of plan.puts)
      if (!failed.has(row)) this.#logger.debug("put", { table: state.table.name, row: state.table.format(row) });
    for (const row of plan.removals)
      if (!failed.has(row)) this.#logger.debug("removed", { table: state.table.name, row: state.table.format(row) });
  }

  /** One table that cannot be read or written blocks no other. */
  async #try(state: TableState, work: () => Promise<void>, { signal }: Abortable): Promise<boolean> {
    try {
      await work();
      this.#announced.delete(state.table.name);
      return true;
    } catch (error) {
      if (isAbort(error, signal)) throw error;
      state.dirty = true;
      this.#announceOnce(state.table.name, describeError(error), "table cannot be read or written; will try again", {
        table: state.table.name,
      });
      return false;
    }
  }

  async #nextPass(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await new Promise<void>((resolve) => {
      const done = () => {
        this.#waiting.delete(done);
        signal.removeEventListener("abort", done);
        resolve();
      };
      this.#waiting.add(done);
      signal.addEventListener("abort", done, { once: true });
    });
    signal.throwIfAborted();
  }

  /** Sleeps until asked, until a failed row is due, or until the next resync. */
  async #pause(signal: AbortSignal): Promise<void> {
    const now = this.#clock.now();
    const listing = this.#order.reduce((sum, state) => sum + state.listingTook, 0);
    const resyncIn = Math.max(this.#resyncEvery, listing / RESYNC_SHARE);
    const retryIn = Math.min(...this.#order.map((state) => state.nextRetry)) - now;
    const tryAgainIn = this.#brokenPasses === 0 ? Number.POSITIVE_INFINITY : backoff(this.#brokenPasses, TABLE_RETRY);
    const span = Math.min(resyncIn, retryIn, tryAgainIn);
    const nap = new AbortController();
    const woken = new Promise<"woken">((resolve) => {
      this.#wake = () => resolve("woken");
    });
    try {
      const slept = this.#clock
        .sleep(span, { signal: AbortSignal.any([signal, nap.signal]) })
        .then(() => "slept" as const);
      slept.catch(() => {});
      const reason = await Promise.race([slept, woken]);
      if (reason === "slept" && span === resyncIn) this.resync();
    } finally {
      nap.abort();
      this.#wake = () => {};
    }
  }

  #ask(): void {
    this.#asked++;
    this.#wake();
  }

  #notice(): void {
    void this.#clock.sleep(NOTIFICATION_DELAY, { signal: AbortSignal.timeout(60_000) }).then(
      () => this.#ask(),
      () => {},
    );
  }

  #announceUndone(state: TableState, undone: readonly UndoneRow[]): void {
    if (undone.length === 0) return;
    const describe = ({ row, found }: UndoneRow) =>
      found === undefined ? state.table.format(row) : `${state.table.format(row)} (found ${state.table.format(found)})`;
    const rows = undone.slice(0, ROWS_IN_LOG).map(describe);
    this.#logger.info("repairing rows that were changed by others", {
      table: state.table.name,
      count: undone.length,
      rows,
    });
    const contested = undone.filter((row) => row.contested);
    if (contested.length > 0)
      this.#logger.warn("something else keeps undoing these rows; trying only every 10 s", {
        table: state.table.name,
        count: contested.length,
        rows: contested.slice(0, ROWS_IN_LOG).map(describe),
      });
  }

  #announceProblems(): void {
    for (const { table, failing } of this.#order) {
      const first = failing[0];
      const name = `${table.name} rows`;
      if (first === undefined) {
        if (this.#announced.delete(name)) this.#logger.info("all rows are in place again", { table: table.name });
        continue;
      }
      this.#announceOnce(name, describeError(first.error), "rows are not in place; will try again", {
        table: table.name,
        count: failing.length,
        row: table.format(first.row),
      });
    }
  }

  #announceOnce(subject: string, reason: string, message: string, fields: Record<string, unknown>): void {
    if (this.#announced.get(subject) === reason) return;
    this.#announced.set(subject, reason);
    this.#logger.warn(message, { ...fields, reason });
  }
}
