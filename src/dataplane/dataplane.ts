import type { Abortable } from "../lib/abortable.ts";
import { Alarm } from "../lib/alarm.ts";
import type { Clock, Instant, Milliseconds } from "../lib/clock.ts";
import { isAbort } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import type { Pulse } from "../lib/pulse.ts";
import { DataplaneLog } from "./dataplane-log.ts";
import type { Layer } from "./table.ts";
import { TableState } from "./table-state.ts";

/** A change that others made is looked at after this long, since one `ip link del` is announced a hundredfold. */
const NOTIFICATION_DELAY: Milliseconds = 20;
/** How often everything is compared though nobody announced a change. */
const RESYNC_EVERY: Milliseconds = 30_000;
/** A resync may take at most this share of a processor: large tables are compared less often. */
const RESYNC_SHARE = 0.005;

export interface DataplaneOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly resyncEvery?: Milliseconds;
}

/** What must be in place. */
export interface Demand {
  /** Filled in order, emptied in reverse; no table twice. Rows are immutable: those that are the same objects as before cost next to nothing. */
  readonly layers: readonly Layer[];
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
  readonly #log: DataplaneLog;
  readonly #resyncEvery: Milliseconds;
  readonly #tables = new Map<unknown, TableState>();
  #order: readonly TableState[] = [];
  #foundations: readonly TableState[] = [];
  /** Counts every reason for a pass at once; a pass has seen all up to the number it began with. */
  #asked = 0;
  #seen = 0;
  #isPassing = false;
  /** Passes, and tables that were worked on. */
  #steps = 0;
  /** When to look at what somebody else changed; Infinity if nobody did. */
  #lookAt: Instant = Number.POSITIVE_INFINITY;
  #resyncedAt: Instant;
  #demand: (() => Demand) | undefined;
  #wake: () => void = () => {};
  readonly #waiting = new Set<() => void>();

  constructor({ clock, logger, resyncEvery = RESYNC_EVERY }: DataplaneOptions) {
    this.#clock = clock;
    this.#log = new DataplaneLog(logger);
    this.#resyncEvery = resyncEvery;
    this.#resyncedAt = clock.now();
  }

  /**
   * Declares what must be in place, instead of what was declared before; tables that are no longer named are left as they are.
   * @param demand asked when the next pass begins: of a burst of declarations only the last one costs anything
   */
  want(demand: () => Demand): void {
    this.#demand = demand;
    this.#ask();
  }

  /** Compares everything with what is really there. */
  resync(): void {
    this.#resyncedAt = this.#clock.now();
    for (const state of this.#order) state.dirty = true;
    this.#ask();
  }

  /** Resolves once all that is wanted now has been tried. Rejects with `signal.reason`. */
  async attempted({ signal }: Abortable): Promise<void> {
    const asked = this.#asked;
    while (this.#seen < asked) await this.#nextPass(signal);
  }

  /** Resolves once all that is wanted now has been tried, and the foundations are in place. Rejects with `signal.reason`. */
  async founded({ signal }: Abortable): Promise<void> {
    const asked = this.#asked;
    while (this.#seen < asked || !this.#foundations.every((state) => state.isSettled)) await this.#nextPass(signal);
  }

  /** Resolves once all that is wanted is in place, also what is wanted meanwhile. Rejects with `signal.reason`. */
  async settled({ signal }: Abortable): Promise<void> {
    while (this.#seen < this.#asked || !this.#order.every((state) => state.isSettled)) await this.#nextPass(signal);
  }

  /** What is wanted and not in place, with the reason. */
  get problems(): readonly Problem[] {
    return this.#order.flatMap(({ table, failing }) =>
      failing.map(({ row, error }) => ({ table: table.name, row: table.format(row), error })),
    );
  }

  /** For a watchdog: a step is one table listed, filled or emptied. */
  get pulse(): Pulse {
    const isDue = this.#isPassing || this.#asked > this.#seen || this.#nextDue <= this.#clock.now();
    const within = this.#order.reduce((sum, { table }) => sum + (table.steps ?? 0), 0);
    return { steps: this.#steps + within, isDue };
  }

  /** Works until the signal aborts, once; what is in place stays. */
  async run({ signal }: Abortable): Promise<never> {
    using alarm = new Alarm(this.#clock, () => this.#wake());
    signal.addEventListener("abort", () => this.#wake(), { once: true });
    try {
      for (;;) {
        await nextTurn();
        signal.throwIfAborted();
        const asked = this.#asked;
        this.#isPassing = true;
        this.#renew();
        await this.#pass({ signal });
        this.#isPassing = false;
        this.#seen = asked;
        this.#steps++;
        for (const resume of this.#waiting) resume();
        while (this.#asked === asked && this.#nextDue > this.#clock.now()) await this.#nap(alarm, signal);
      }
    } finally {
      for (const state of this.#order) state[Symbol.dispose]();
    }
  }

  /** Takes up what is wanted now. */
  #renew(): void {
    if (this.#demand === undefined) return;
    const { layers, spareUnknown } = this.#demand();
    this.#demand = undefined;
    const named = new Set<unknown>(layers.map(({ table }) => table));
    if (named.size < layers.length) throw new Error("a table is wanted in two layers");
    for (const [table, state] of this.#tables) {
      if (named.has(table)) continue;
      state[Symbol.dispose]();
      this.#tables.delete(table);
    }
    const foundations: TableState[] = [];
    this.#order = layers.map(({ table, rows, isFoundation }) => {
      const state = this.#tables.get(table) ?? new TableState(table, this.#clock, () => this.#notice());
      this.#tables.set(table, state);
      state.want(rows, spareUnknown);
      if (isFoundation) foundations.push(state);
      return state;
    });
    this.#foundations = foundations;
  }

  async #pass(options: Abortable): Promise<void> {
    const now = this.#clock.now();
    this.#lookAt = Number.POSITIVE_INFINITY; // every table that was noticed is dirty
    if (this.#nextCommonResync <= now) {
      this.#resyncedAt = now;
      for (const state of this.#order) if (!state.hasOwnPace) state.dirty = true;
    }
    for (const state of this.#order) if (state.nextResync <= now) state.dirty = true;
    const order = this.#order.filter((state) => !state.isResting(now));
    const filled: TableState[] = [];
    let isOnNewGround = false;
    for (const state of order) {
      if (isOnNewGround) state.retryNow();
      const fill = async () => {
        const count = await this.#fill(state, options);
        if (count > 0 && this.#foundations.includes(state)) isOnNewGround = true;
      };
      if (await this.#try(state, fill, options)) filled.push(state);
    }
    for (const state of filled.toReversed())
      if (await this.#try(state, () => this.#empty(state, options), options)) this.#worked(state);
    for (const state of order) state.forgetObsoleteFailures();
    this.#log.problems(this.#order);
  }

  /** @returns how many rows were put */
  async #fill(state: TableState, options: Abortable): Promise<number> {
    if (state.dirty) this.#log.undone(state, await state.refresh(options));
    const put = await state.fill(options);
    this.#log.put(state, put);
    return put.length;
  }

  async #empty(state: TableState, options: Abortable): Promise<void> {
    this.#log.removed(state, await state.empty(options));
  }

  /** One table that cannot be read or written blocks no other. @returns whether it could */
  async #try(state: TableState, work: () => Promise<void>, { signal }: Abortable): Promise<boolean> {
    signal.throwIfAborted();
    try {
      await work();
      return true;
    } catch (error) {
      if (isAbort(error, signal)) throw error;
      state.failed();
      this.#log.failed(state, error);
      return false;
    } finally {
      this.#steps++;
    }
  }

  #worked(state: TableState): void {
    state.worked();
    this.#log.works(state);
  }

  async #nextPass(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await new Promise<void>((resolve) => {
      const resume = () => {
        this.#waiting.delete(resume);
        signal.removeEventListener("abort", resume);
        resolve();
      };
      this.#waiting.add(resume);
      signal.addEventListener("abort", resume, { once: true });
    });
    signal.throwIfAborted();
  }

  /** Of the tables without a pace of their own. */
  get #nextCommonResync(): Instant {
    const listing = this.#order.reduce((sum, state) => sum + (state.hasOwnPace ? 0 : state.listingTook), 0);
    return this.#resyncedAt + Math.max(this.#resyncEvery, listing / RESYNC_SHARE);
  }

  /** When the next pass is due though nobody asks. */
  get #nextDue(): Instant {
    return Math.min(
      this.#lookAt,
      this.#nextCommonResync,
      ...this.#order.flatMap((state) => [state.nextRetry, state.nextResync]),
    );
  }

  /** Sleeps until something is due, or something happens. */
  async #nap(alarm: Alarm, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    alarm.set(this.#nextDue);
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }

  #ask(): void {
    this.#asked++;
    this.#wake();
  }

  #notice(): void {
    this.#lookAt = Math.min(this.#lookAt, this.#clock.now() + NOTIFICATION_DELAY);
    this.#wake();
  }
}

/** Lets all be heard that has arrived: a burst should be one pass. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
