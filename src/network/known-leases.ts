import type { Prefix } from "../ip/prefix.ts";
import { type Cursor, continuesHistory, LEASE_TTL, type Lease, type LeaseUpdate } from "../lease/lease.ts";
import { LeaseTable, type LeaseTableChange } from "../lease/lease-table.ts";
import type { Clock, Instant } from "../lib/clock.ts";
import type { Logger } from "../lib/logger.ts";
import type { HostMemory } from "./host-memory.ts";
import type { HostState } from "./host-state.ts";

/**
 * What is known of a network's leases, also while our own is lost: the peers are still there. And whether what is not known is gone:
 * a store that was made anew or restored does not know everyone yet.
 */
export class KnownLeases {
  readonly #table = new LeaseTable();
  readonly #memory: HostMemory;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** Until when who is not known is not believed to be gone. */
  #spareUntil: Instant;

  constructor(memory: HostMemory, clock: Clock, logger: Logger) {
    this.#memory = memory;
    this.#clock = clock;
    this.#logger = logger;
    // What an earlier run wrote is by a wall clock that may have been years ahead.
    const left = (memory.state.spareUntil ?? 0) - clock.wallClock().getTime();
    this.#spareUntil = clock.now() + Math.min(left, LEASE_TTL);
    if (left > LEASE_TTL) this.#rememberSparing({});
  }

  get all(): readonly Lease[] {
    return this.#table.leases;
  }

  /** Where to go on watching; undefined before the first snapshot. */
  get cursor(): Cursor | undefined {
    return this.#table.cursor;
  }

  /** The lease on our subnet, if the store still tells of it. */
  stored(subnet: Prefix): Lease | undefined {
    const lease = this.#table.get(subnet);
    return lease === undefined || this.#table.isRetained(lease) ? undefined : lease;
  }

  /** Whether who is not among the leases is gone: a full snapshot has come, of a history that nobody reset lately. */
  get isComplete(): boolean {
    return this.cursor !== undefined && this.#spareUntil <= this.#clock.now();
  }

  apply(update: LeaseUpdate): LeaseTableChange {
    const before = this.cursor ?? this.#memory.state.cursor;
    const change = this.#table.apply(update, this.#clock.now());
    if (update.type === "snapshot") this.#judge(before, update.cursor, change.retained.length);
    return change;
  }

  /** When the next lease ends that the store does not tell of any more; Infinity if there is none. */
  get nextEnd(): Instant {
    return this.#table.nextEnd;
  }

  /** Drops those leases whose time is over. */
  dropEnded(): readonly Lease[] {
    return this.#table.dropEnded(this.#clock.now());
  }

  /** A store that goes back behind this place while we are away was restored. */
  rememberCursor(): void {
    if (this.cursor !== undefined) void this.#memory.remember({ cursor: this.cursor });
  }

  #judge(before: Cursor | undefined, now: Cursor, retained: number): void {
    const isReset = before !== undefined && !continuesHistory(before, now);
    if (!isReset && retained === 0) return this.rememberCursor();
    this.#logger.warn("the store's history was reset: peers it does not name are kept until their leases would end", {
      before,
      now,
      kept: retained,
    });
    this.#spareUntil = this.#clock.now() + LEASE_TTL;
    this.#rememberSparing({ cursor: now });
  }

  #rememberSparing(news: Pick<HostState, "cursor">): void {
    const left = this.#spareUntil - this.#clock.now();
    void this.#memory.remember({ ...news, spareUntil: this.#clock.wallClock().getTime() + left });
  }
}
