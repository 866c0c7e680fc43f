import { type LeaseEvent, type LeaseUpdate, leaseKey } from "../lease/lease.ts";

/** Changes that one place in the history stands for; one, but where a transaction made several. */
export interface Change {
  readonly index: bigint;
  readonly events: readonly LeaseEvent[];
}

/** The changes of a network since some place in the store's history, the oldest being forgotten in time. */
export class ChangeLog {
  readonly #most: number;
  #changes: Change[] = [];
  #start: bigint;

  /** @param start everything after this index will be known */
  constructor(start: bigint, most: number) {
    this.#start = start;
    this.#most = most;
  }

  /** Whether every change after `index` is here, or still to come. */
  reaches(index: bigint): boolean {
    return index >= this.#start;
  }

  /** The last change's; -1 if there is none. */
  get lastIndex(): bigint {
    return this.#changes.at(-1)?.index ?? -1n;
  }

  /** Those after `index`, the oldest first. */
  after(index: bigint): readonly Change[] {
    if (index >= this.lastIndex) return [];
    let low = 0;
    let high = this.#changes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#changes[middle]?.index ?? 0n) > index) high = middle;
      else low = middle + 1;
    }
    return this.#changes.slice(low);
  }

  add(update: LeaseUpdate & { readonly type: "events" }): void {
    this.#changes.push(...placed(update, this.lastIndex > this.#start ? this.lastIndex : this.#start));
    const excess = this.#changes.length - this.#most;
    if (excess <= this.#most / 10) return; // a tenth at once: moving the rest takes time
    this.#start = this.#changes[excess - 1]?.index ?? this.#start;
    this.#changes = this.#changes.slice(excess);
  }
}

/**
 * Each event's place in the history. A lease's is its revision; of removals in the midst of a batch nothing is known but what they
 * come after, and the lowest place that may be is taken: who goes on from there hears of one twice rather than not at all.
 */
function placed({ events, cursor }: LeaseUpdate & { readonly type: "events" }, previous: bigint): readonly Change[] {
  const changes: { index: bigint; events: LeaseEvent[] }[] = [];
  for (const [number, event] of events.entries()) {
    const last = changes.at(-1);
    const floor = last?.index ?? previous;
    const isLast = number === events.length - 1;
    const guess = event.type === "added" ? event.lease.revision : isLast ? cursor.index : floor + 1n;
    const index = guess < cursor.index ? guess : cursor.index;
    if (last !== undefined && index <= last.index) last.events.push(event);
    else changes.push({ index: index > floor ? index : floor, events: [event] });
  }
  return changes;
}

/** What of a change is about this subnet, as `leaseKey()` has it. */
export function only(subnet: string, { index, events }: Change): readonly Change[] {
  const mine = events.filter((event) => leaseKey(event.type === "added" ? event.lease : event) === subnet);
  return mine.length === 0 ? [] : [{ index, events: mine }];
}
