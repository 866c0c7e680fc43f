import { equalPrefix, formatPrefix, type Prefix } from "../ip/prefix.ts";
import type { Instant } from "../lib/clock.ts";
import {
  type Cursor,
  continuesHistory,
  LEASE_TTL,
  type Lease,
  type LeaseEvent,
  type LeaseUpdate,
  leaseKey,
} from "./lease.ts";
import { formatAttributes } from "./lease-codec.ts";

/** What an update changed. */
export interface LeaseTableChange {
  readonly added: readonly Lease[];
  readonly changed: readonly Lease[];
  readonly removed: readonly Lease[];
  /** Missing in a snapshot that is not believed; kept until their last known end. */
  readonly retained: readonly Lease[];
}

/**
 * All leases of a network as far as they are known, the own one among them.
 *
 * A store that was restored, wiped or addressed wrongly also answers with a valid, empty snapshot. So a lease goes only by an event,
 * or by a snapshot from the same history that still holds some lease known here; else it is retained until its last known end.
 */
export class LeaseTable {
  readonly #leases = new Map<string, Lease>();
  /** When leases end that the store no longer tells of. */
  readonly #retainedUntil = new Map<string, Instant>();
  #cursor: Cursor | undefined;

  /** Where in the store's history the table stands; undefined before the first update. */
  get cursor(): Cursor | undefined {
    return this.#cursor;
  }

  get leases(): readonly Lease[] {
    return [...this.#leases.values()];
  }

  get size(): number {
    return this.#leases.size;
  }

  get(subnet: Prefix): Lease | undefined {
    return this.#leases.get(formatPrefix(subnet));
  }

  /** Whether the store does not tell of this lease any more. */
  isRetained(lease: Lease): boolean {
    return this.#retainedUntil.has(leaseKey(lease));
  }

  /** When the next retained lease ends; Infinity if there is none. */
  get nextEnd(): Instant {
    return Math.min(...this.#retainedUntil.values());
  }

  apply(update: LeaseUpdate, now: Instant): LeaseTableChange {
    const change =
      update.type === "snapshot" ? this.#replace(update.leases, update.cursor, now) : this.#follow(update.events);
    this.#cursor = update.cursor;
    return change;
  }

  /** Drops the retained leases whose time is over. */
  dropEnded(now: Instant): readonly Lease[] {
    const ended: Lease[] = [];
    for (const [key, end] of this.#retainedUntil) {
      if (end > now) continue;
      const lease = this.#leases.get(key);
      if (lease !== undefined) ended.push(lease);
      this.#forget(key);
    }
    return ended;
  }

  #replace(leases: readonly Lease[], cursor: Cursor, now: Instant): LeaseTableChange {
    const listed = new Map<string, Lease>();
    for (const lease of leases) listed.set(leaseKey(lease), lease);
    const missing = [...this.#leases].filter(([key]) => !listed.has(key) && !this.#retainedUntil.has(key));
    const told = this.#leases.size - this.#retainedUntil.size;
    const continues = this.#cursor === undefined || continuesHistory(this.#cursor, cursor);
    const believable = continues && missing.length < Math.max(told, 1);
    const removed: Lease[] = [];
    const retained: Lease[] = [];
    for (const [key, lease] of missing) {
      if (believable) {
        removed.push(lease);
        this.#forget(key);
      } else {
        retained.push(lease);
        this.#retainedUntil.set(key, lease.expiresAt ?? now + LEASE_TTL);
      }
    }
    return { ...this.#put(listed), removed, retained };
  }

  #follow(events: readonly LeaseEvent[]): LeaseTableChange {
    const last = new Map(events.map((event) => [leaseKey(event.type === "added" ? event.lease : event), event]));
    const removed: Lease[] = [];
    const put = new Map<string, Lease>();
    for (const [key, event] of last) {
      if (event.type === "added") {
        put.set(key, event.lease);
        continue;
      }
      const lease = this.#leases.get(key);
      if (lease !== undefined) removed.push(lease);
      this.#forget(key);
    }
    return { ...this.#put(put), removed, retained: [] };
  }

  #put(leases: ReadonlyMap<string, Lease>): Pick<LeaseTableChange, "added" | "changed"> {
    const added: Lease[] = [];
    const changed: Lease[] = [];
    for (const [key, lease] of leases) {
      const known = this.#leases.get(key);
      if (known === undefined) added.push(lease);
      else if (!sameAttributes(known, lease)) changed.push(lease);
      this.#retainedUntil.delete(key);
      // A listing of what is known keeps the object, so that what was computed from it stays valid.
      if (known === undefined || !sameLease(known, lease)) this.#leases.set(key, lease);
    }
    return { added, changed };
  }

  #forget(key: string): void {
    this.#leases.delete(key);
    this.#retainedUntil.delete(key);
  }
}

/** Whether both say the same of the host, whatever their age. */
export function sameAttributes(a: Lease, b: Lease): boolean {
  return (
    equalPrefix(a.subnet, b.subnet) &&
    sameIPv6Subnet(a.ipv6Subnet, b.ipv6Subnet) &&
    formatAttributes(a.attributes, "later") === formatAttributes(b.attributes, "later")
  );
}

function sameIPv6Subnet(a: Prefix | undefined, b: Prefix | undefined): boolean {
  return a === undefined || b === undefined ? a === b : equalPrefix(a, b);
}

function sameLease(a: Lease, b: Lease): boolean {
  return (
    a.revision === b.revision &&
    a.isReservation === b.isReservation &&
    a.expiresAt === b.expiresAt &&
    sameAttributes(a, b)
  );
}
