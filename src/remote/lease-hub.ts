import { formatPrefix } from "../ip/prefix.ts";
import { type Cursor, continuesHistory, type LeaseUpdate, type NetworkName } from "../lease/lease.ts";
import type { SubnetManager } from "../lease/subnet-manager.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Clock, Instant, Milliseconds } from "../lib/clock.ts";
import type { Logger } from "../lib/logger.ts";
import { type Dialect, formatEvents, formatLease, formatLeaseEvent, formatSnapshot } from "./api-json.ts";
import { type Change, ChangeLog, only } from "./change-log.ts";
import { type CursorNumber, epochOf } from "./cursor-text.ts";
import type { Pending, Poll, PollAnswer, Snapshot } from "./poll.ts";
import { remembered } from "./remembered.ts";
import type { LeaseBook, LeaseListing } from "./served-store.ts";
import { Shared } from "./shared.ts";

/** How many changes a client may have missed before it is sent everything. */
const HISTORY = 10_000;
/** How many changes one of our own clients is told at once. */
const BATCH = 1_000;
/** Characters. */
const LONG = 16_384;
/** How often it is looked whose time is over. */
const TICK: Milliseconds = 1_000;

export interface LeaseHubParts {
  readonly network: NetworkName;
  readonly manager: SubnetManager;
  readonly book: LeaseBook;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told the name of the store's history whenever it is read. */
  readonly onHistory: (name: string) => void;
  /** Gives a task an owner. */
  readonly spawn: (task: (signal: AbortSignal) => Promise<void>) => void;
}

interface Waiter {
  readonly since: bigint;
  readonly dialect: Dialect;
  readonly subnet: string | undefined;
  readonly until: Instant;
  readonly answer: (answer: PollAnswer) => void;
}

/** One network's changes for however many clients: one watch on the store, and each change put into words once. */
export class LeaseHub implements Disposable {
  readonly #parts: LeaseHubParts;
  readonly #listing: Shared<LeaseListing>;
  readonly #waiters = new Set<Waiter>();
  /** Answers that may be wanted again, until the next change. */
  readonly #answers = new Map<string, PollAnswer>();
  readonly #texts = new WeakMap<Change, Map<Dialect, string>>();
  #opening: Promise<void> | undefined;
  /** Undefined until someone wants to hear of changes. */
  #log: ChangeLog | undefined;
  #history = "";
  /** How often the history went back without changing its name. */
  #resets = 0;
  /** The highest index heard of, by whatever way. */
  #known = 0n;
  /** Up to where changes are in the log. */
  #delivered = 0n;
  #restart = new AbortController();
  readonly #closed = new AbortController();
  #lastUse: Instant;

  /** @param signal ends what several clients share */
  constructor(parts: LeaseHubParts, { signal }: Abortable) {
    this.#parts = parts;
    this.#lastUse = parts.clock.now();
    this.#listing = new Shared(() => this.#list(signal));
  }

  /** How many clients are waiting. */
  get waiting(): number {
    return this.#waiters.size;
  }

  /** Whether it has a watch on the store. */
  get isWatching(): boolean {
    return this.#opening !== undefined;
  }

  /** When a client last asked, or waited. */
  get lastUse(): Instant {
    return this.#waiters.size > 0 ? this.#parts.clock.now() : this.#lastUse;
  }

  /** Ends its watch on the store. */
  [Symbol.dispose](): void {
    this.#closed.abort(new Error("nobody asks for the network any more"));
    this.#answerAll(() => "snapshot");
  }

  /** All leases, not older than this call. @throws what the store throws */
  async snapshot(): Promise<Snapshot> {
    this.#lastUse = this.#parts.clock.now();
    const listing = await this.#listing.get();
    return this.#described(listing);
  }

  /** What has happened since, if anything has. @throws what the store throws */
  async poll({ since, dialect, subnet, patience = Number.POSITIVE_INFINITY }: Poll): Promise<PollAnswer | Pending> {
    this.#lastUse = this.#parts.clock.now();
    this.#opening ??= this.#open(since);
    await this.#opening;
    if (since.index > this.#known) await this.#listing.get(); // ahead of what was heard here: of another server, or of a history that is no more
    const log = this.#log;
    const isOurs = since.epoch === 0n || since.epoch === epochOf(this.#epochName);
    if (!isOurs || log === undefined || since.index > this.#known || !log.reaches(since.index)) return "snapshot";
    const key = subnet && formatPrefix(subnet);
    const answer = this.#answer({ since: since.index, dialect, subnet: key });
    if (answer !== undefined) return answer;
    const until = Number.isFinite(patience) ? this.#parts.clock.now() + patience : patience;
    return { wait: (answer) => this.#wait({ since: since.index, dialect, subnet: key, until, answer }) };
  }

  #wait(waiter: Waiter): () => void {
    const meanwhile = this.#closed.signal.aborted ? "snapshot" : this.#answer(waiter); // between the question and the waiting
    if (meanwhile === undefined) this.#waiters.add(waiter);
    else waiter.answer(meanwhile);
    return () => this.#forget(waiter);
  }

  /** Who is answered waits no more. */
  #answerAll(answer: (waiter: Waiter) => PollAnswer | undefined): void {
    for (const waiter of this.#waiters) {
      const text = answer(waiter);
      if (text === undefined) continue;
      this.#forget(waiter);
      waiter.answer(text);
    }
  }

  #forget(waiter: Waiter): void {
    if (this.#waiters.delete(waiter)) this.#lastUse = this.#parts.clock.now();
  }

  /** Begins the log where the first client stands, so that after a restart of the server nobody need be told everything. */
  async #open({ epoch, index }: CursorNumber): Promise<void> {
    try {
      const { cursor } = await this.#listing.get();
      const isOurs = epoch === 0n || epoch === epochOf(cursor.history);
      const start = isOurs && index < cursor.index ? index : cursor.index;
      this.#begin(cursor, start);
    } catch (error) {
      this.#opening = undefined;
      throw error;
    }
    this.#spawn((signal) => this.#follow(signal));
    this.#spawn((signal) => this.#tick(signal));
  }

  /** Until this hub is closed, or whoever it belongs to. */
  #spawn(task: (signal: AbortSignal) => Promise<void>): void {
    const closed = this.#closed.signal;
    this.#parts.spawn(async (signal) => {
      try {
        await task(AbortSignal.any([signal, closed]));
      } catch (error) {
        if (!closed.aborted) throw error;
      }
    });
  }

  #begin(cursor: Cursor, start: bigint): void {
    this.#history = cursor.history;
    this.#known = cursor.index;
    this.#delivered = start;
    this.#log = new ChangeLog(start, HISTORY);
    this.#answers.clear();
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { manager, network } = this.#parts;
    for (;;) {
      this.#restart = new AbortController();
      const since = { history: this.#history, index: this.#delivered };
      try {
        const updates = manager.watchLeases(network, {
          signal: AbortSignal.any([signal, this.#restart.signal]),
          since,
        });
        for await (const update of updates) this.#take(update);
      } catch (error) {
        signal.throwIfAborted();
        if (!this.#restart.signal.aborted) throw error;
      }
    }
  }

  #take(update: LeaseUpdate): void {
    if (update.type === "snapshot") return this.#skipTo(update.cursor);
    this.#log?.add(update);
    this.#delivered = update.cursor.index;
    if (this.#delivered > this.#known) this.#known = this.#delivered;
    this.#answers.clear();
    this.#answerAll((waiter) => this.#answer(waiter));
  }

  /** What was between is not known: everyone is told everything. */
  #skipTo(cursor: Cursor): void {
    const before = { history: this.#history, index: this.#delivered };
    if (before.history === cursor.history && cursor.index < before.index) this.#resets++;
    this.#begin(cursor, cursor.index);
    this.#answerAll(() => "snapshot");
  }

  async #list(signal: AbortSignal): Promise<LeaseListing> {
    const { book, network, logger, onHistory } = this.#parts;
    const before = { history: this.#history, index: this.#known };
    const listing = await book.listLeases(network, { signal });
    const { cursor } = listing;
    onHistory(cursor.history);
    if (this.#log === undefined) return listing;
    if (continuesHistory(before, cursor)) {
      if (this.#history === cursor.history && cursor.index > this.#known) this.#known = cursor.index;
    } else if (this.#history === before.history && this.#known >= before.index) {
      logger.warn("the store's history was reset: every client is told all leases anew", {
        network,
        before,
        now: cursor,
      });
      this.#skipTo(cursor);
      this.#restart.abort(new Error("the history was reset"));
    }
    return listing;
  }

  async #tick(signal: AbortSignal): Promise<void> {
    for (;;) {
      await this.#parts.clock.sleep(TICK, { signal });
      const now = this.#parts.clock.now();
      this.#answerAll((waiter) => (waiter.until <= now ? this.#nothing(waiter) : undefined));
    }
  }

  /** Undefined if nothing has happened since. */
  #answer({ since, dialect, subnet }: Pick<Waiter, "since" | "dialect" | "subnet">): PollAnswer | undefined {
    const log = this.#log;
    if (log === undefined || since >= log.lastIndex) return undefined;
    const key = `${since} ${dialect} ${subnet ?? ""}`;
    const known = this.#answers.get(key);
    if (known !== undefined) return known;
    const changes = log.after(since);
    const wanted = subnet === undefined ? changes : changes.flatMap((change) => only(subnet, change));
    const told = wanted.slice(0, dialect === "0.7" ? 1 : BATCH);
    const last = told.at(-1);
    if (last === undefined) return undefined;
    const items = told.map((change) => this.#text(change, dialect));
    const text = formatEvents(items, this.#cursor(last.index));
    // A short text goes out with its head in one piece; a long one is put into bytes once for all.
    const answer = { body: text.length < LONG ? text : Buffer.from(text) };
    this.#answers.set(key, answer);
    return answer;
  }

  #nothing({ since }: Waiter): PollAnswer {
    return { body: formatEvents([], this.#cursor(since > this.#delivered ? since : this.#delivered)) };
  }

  #text(change: Change, dialect: Dialect): string {
    let texts = this.#texts.get(change);
    if (texts === undefined) this.#texts.set(change, (texts = new Map()));
    let text = texts.get(dialect);
    if (text === undefined) {
      text = change.events.map((event) => formatLeaseEvent(event, this.#parts.clock, dialect)).join(",");
      texts.set(dialect, text);
    }
    return text;
  }

  #cursor(index: bigint): Cursor {
    return { history: this.#epochName, index };
  }

  get #epochName(): string {
    return this.#resets === 0 ? this.#history : `${this.#history}/${this.#resets}`;
  }

  readonly #described = remembered((listing: LeaseListing): Snapshot => {
    const { clock } = this.#parts;
    const { leases } = listing;
    const isOurs = this.#log !== undefined && this.#history === listing.cursor.history;
    const cursor = isOurs ? this.#cursor(listing.cursor.index) : listing.cursor;
    const body = remembered((dialect: Dialect) =>
      Buffer.from(
        formatSnapshot(
          leases.map((lease) => formatLease(lease, clock, dialect)),
          cursor,
        ),
      ),
    );
    return { leases, cursor, body };
  });
}
