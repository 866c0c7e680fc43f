import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { formatPrefix, parsePrefix } from "../ip/prefix.ts";
import { type Cursor, LEASE_TTL, type Lease, type LeaseEvent } from "./lease.ts";
import { LeaseTable, type LeaseTableChange } from "./lease-table.ts";

const NOW = 1_000_000;
const END = NOW + LEASE_TTL / 2;

const at = (index: number, history = "etcd-1"): Cursor => ({ history, index: BigInt(index) });
const subnet = (number: number) => parsePrefix(`10.5.${number}.0/24`);

function lease(number: number, more: Partial<Lease> & { readonly host?: number } = {}): Lease {
  const { host = number, ...rest } = more;
  return {
    subnet: subnet(number),
    attributes: { publicIP: parseAddress(`192.0.2.${host}`), backendType: "host-gw" },
    expiresAt: END,
    isReservation: false,
    revision: 1n,
    ...rest,
  };
}

const added = (lease: Lease): LeaseEvent => ({ type: "added", lease });
const removed = (number: number): LeaseEvent => ({ type: "removed", subnet: subnet(number) });

const numbers = (leases: readonly Lease[]) =>
  leases.map(({ subnet }) => Number(formatPrefix(subnet).split(".")[2])).toSorted((a, b) => a - b);
const inNumbers = (change: LeaseTableChange) =>
  Object.fromEntries(
    Object.entries(change)
      .map(([what, leases]) => [what, numbers(leases)] as const)
      .filter(([, numbers]) => numbers.length > 0),
  );

/** A table that knows these leases as of change 10, and what it then says of a snapshot. */
function tableWith(...leases: readonly Lease[]) {
  const table = new LeaseTable();
  table.apply({ type: "snapshot", leases, cursor: at(10) }, NOW);
  const snapshot = (cursor: Cursor, ...leases: readonly Lease[]) =>
    inNumbers(table.apply({ type: "snapshot", leases, cursor }, NOW));
  const events = (index: number, ...events: readonly LeaseEvent[]) =>
    inNumbers(table.apply({ type: "events", events, cursor: at(index) }, NOW));
  return { table, snapshot, events, known: () => numbers(table.leases) };
}

describe("LeaseTable.apply() of a snapshot", () => {
  test("believes the first one, whatever it says", () => {
    const table = new LeaseTable();
    expect(inNumbers(table.apply({ type: "snapshot", leases: [], cursor: at(7) }, NOW))).toEqual({});
    expect(table.cursor).toEqual(at(7));
    expect(tableWith(lease(1), lease(2)).known()).toEqual([1, 2]);
  });

  test("removes what one of the same history does not name", () => {
    const { snapshot, known } = tableWith(lease(1), lease(2), lease(3));
    expect(snapshot(at(20), lease(1), lease(4))).toEqual({ added: [4], removed: [2, 3] });
    expect(known()).toEqual([1, 4]);
  });

  test("removes also with one of the same index", () => {
    expect(tableWith(lease(1), lease(2)).snapshot(at(10), lease(1))).toEqual({ removed: [2] });
  });

  test("tells of a host whose MAC or public IP changed while nobody watched", () => {
    const { snapshot } = tableWith(lease(1), lease(2), lease(3));
    const otherMac = lease(1, {
      attributes: { ...lease(1).attributes, backendData: { VtepMAC: "66:72:44:0d:7e:1a" } },
    });
    expect(snapshot(at(20), otherMac, lease(2, { host: 99 }), lease(3))).toEqual({ changed: [1, 2] });
  });

  test.each([
    ["from a store that was made anew", at(20, "etcd-2")],
    ["from a store that went back in time", at(9)],
  ])("retains what one %s does not name", (_, cursor) => {
    const { table, snapshot, known } = tableWith(lease(1), lease(2), lease(3));
    expect(snapshot(cursor, lease(1), lease(4))).toEqual({ added: [4], retained: [2, 3] });
    expect(known()).toEqual([1, 2, 3, 4]);
    expect(table.isRetained(lease(2))).toBe(true);
    expect(table.isRetained(lease(1))).toBe(false);
  });

  test("retains everything if an empty one claims to be of the same history, as with a wrong prefix", () => {
    const { snapshot, known } = tableWith(lease(1), lease(2));
    expect(snapshot(at(20))).toEqual({ retained: [1, 2] });
    expect(known()).toEqual([1, 2]);
  });

  test("retains everything if one of the same history names only strangers", () => {
    expect(tableWith(lease(1), lease(2)).snapshot(at(20), lease(3))).toEqual({ added: [3], retained: [1, 2] });
  });

  test("retains our own lease like any other, and says so", () => {
    const own = lease(1);
    expect(tableWith(own, lease(2)).snapshot(at(1, "etcd-2"))).toEqual({ retained: [1, 2] });
  });

  test("follows the new history from then on, still retaining what it never knew", () => {
    const { table, snapshot, known } = tableWith(lease(1), lease(2), lease(3));
    snapshot(at(5, "etcd-2"), lease(1));
    expect(table.cursor).toEqual(at(5, "etcd-2"));
    expect(snapshot(at(6, "etcd-2"), lease(1), lease(4))).toEqual({ added: [4] });
    expect(snapshot(at(7, "etcd-2"), lease(1))).toEqual({ removed: [4] });
    expect(known()).toEqual([1, 2, 3]);
  });

  test("retains no longer what a later one names again", () => {
    const { table, snapshot } = tableWith(lease(1), lease(2), lease(3));
    snapshot(at(5, "etcd-2"), lease(1));
    expect(snapshot(at(6, "etcd-2"), lease(1), lease(2, { host: 22 }))).toEqual({ changed: [2] });
    expect(snapshot(at(7, "etcd-2"), lease(1))).toEqual({ removed: [2] });
    expect(numbers(table.dropEnded(END))).toEqual([3]);
  });

  test("keeps the very objects of unchanged leases", () => {
    const first = lease(1);
    const { table, snapshot } = tableWith(first, lease(2));
    snapshot(at(20), { ...lease(1) }, lease(2));
    expect(table.get(subnet(1))).toBe(first);
  });

  test("takes the news of a renewed lease without calling it changed", () => {
    const { table, snapshot } = tableWith(lease(1), lease(2));
    expect(snapshot(at(20), lease(1, { revision: 15n, expiresAt: END + 1 }), lease(2))).toEqual({});
    expect(table.get(subnet(1))?.revision).toBe(15n);
  });
});

describe("LeaseTable.apply() of events", () => {
  test("adds, changes and removes", () => {
    const { events, known } = tableWith(lease(1), lease(2));
    expect(events(11, added(lease(3)), added(lease(1, { host: 9 })), removed(2))).toEqual({
      added: [3],
      changed: [1],
      removed: [2],
    });
    expect(known()).toEqual([1, 3]);
  });

  test("tells of a removed lease with what was known of it", () => {
    const { table } = tableWith(lease(1, { host: 7 }));
    const { removed: gone } = table.apply({ type: "events", events: [removed(1)], cursor: at(11) }, NOW);
    expect(gone).toEqual([lease(1, { host: 7 })]);
  });

  test("counts only the last one of each subnet", () => {
    const { events, known } = tableWith(lease(1));
    expect(events(20, removed(1), added(lease(1)), added(lease(2)), removed(2), removed(9))).toEqual({});
    expect(known()).toEqual([1]);
  });

  test("removes also what was retained", () => {
    const { table, snapshot, events } = tableWith(lease(1), lease(2));
    snapshot(at(1, "etcd-2"), lease(1));
    expect(events(2, removed(2))).toEqual({ removed: [2] });
    expect(table.nextEnd).toBe(Number.POSITIVE_INFINITY);
  });

  test("moves the cursor, also without any", () => {
    const { table, events } = tableWith();
    events(33);
    expect(table.cursor).toEqual(at(33));
  });
});

describe("LeaseTable.dropEnded()", () => {
  test("drops retained leases at their last known end, and no others", () => {
    const { table, snapshot, known } = tableWith(lease(1), lease(2), lease(3, { expiresAt: END + 1 }), lease(4));
    snapshot(at(1), lease(4));
    expect(table.nextEnd).toBe(END);
    expect(table.dropEnded(END - 1)).toEqual([]);
    expect(numbers(table.dropEnded(END))).toEqual([1, 2]);
    expect(table.nextEnd).toBe(END + 1);
    expect(numbers(table.dropEnded(END + LEASE_TTL))).toEqual([3]);
    expect(known()).toEqual([4]);
    expect(table.nextEnd).toBe(Number.POSITIVE_INFINITY);
  });

  test("gives a lease's whole time to one whose end was never told", () => {
    const { expiresAt: _, ...endless } = lease(1);
    const { table, snapshot } = tableWith(endless, lease(2));
    snapshot(at(1), lease(2));
    expect(table.nextEnd).toBe(NOW + LEASE_TTL);
  });

  test("does not move the end when further snapshots do not name the lease either", () => {
    const { table, snapshot } = tableWith(lease(1), lease(2));
    snapshot(at(1, "etcd-2"), lease(2));
    snapshot(at(1, "etcd-3"), lease(2));
    expect(table.nextEnd).toBe(END);
  });
});

/** The same in the words of the design: a set of leases, some of them retained. */
class Model {
  readonly known = new Map<number, { host: number; retained: boolean }>();
  cursor: Cursor | undefined;

  snapshot(named: ReadonlyMap<number, number>, cursor: Cursor): void {
    const isSameHistory =
      this.cursor === undefined || (this.cursor.history === cursor.history && cursor.index >= this.cursor.index);
    const told = [...this.known].filter(([, { retained }]) => !retained).map(([number]) => number);
    const isBelieved = isSameHistory && (told.length === 0 || told.some((number) => named.has(number)));
    for (const number of told) {
      if (named.has(number)) continue;
      if (isBelieved) this.known.delete(number);
      else this.known.set(number, { host: this.known.get(number)?.host ?? 0, retained: true });
    }
    for (const [number, host] of named) this.known.set(number, { host, retained: false });
    this.cursor = cursor;
  }

  events(events: readonly (readonly [number, number | undefined])[], cursor: Cursor): void {
    for (const [number, host] of events)
      if (host === undefined) this.known.delete(number);
      else this.known.set(number, { host, retained: false });
    this.cursor = cursor;
  }
}

test("LeaseTable does what a naive model of the rules does, and tells of every difference", () => {
  const number = fc.nat(5);
  const host = fc.integer({ min: 1, max: 3 });
  const cursor = fc.record({ history: fc.constantFrom("etcd-1", "etcd-2"), index: fc.bigInt(0n, 5n) });
  const update = fc.oneof(
    fc.record({ named: fc.dictionary(fc.constantFrom("0", "1", "2", "3", "4", "5"), host), cursor }),
    fc.record({ events: fc.array(fc.tuple(number, fc.option(host, { nil: undefined }))), cursor }),
  );
  fc.assert(
    fc.property(fc.array(update, { maxLength: 12 }), (updates) => {
      const table = new LeaseTable();
      const model = new Model();
      for (const update of updates) {
        const before = new Map(table.leases.map((each) => [numbers([each])[0], each]));
        let change: LeaseTableChange;
        if ("named" in update) {
          const named = new Map(Object.entries(update.named).map(([number, host]) => [Number(number), host]));
          const leases = [...named].map(([number, host]) => lease(number, { host }));
          change = table.apply({ type: "snapshot", leases, cursor: update.cursor }, NOW);
          model.snapshot(named, update.cursor);
        } else {
          const events = update.events.map(([number, host]) =>
            host === undefined ? removed(number) : added(lease(number, { host })),
          );
          change = table.apply({ type: "events", events, cursor: update.cursor }, NOW);
          model.events(update.events, update.cursor);
        }
        const state = table.leases.map((each) => [
          numbers([each])[0],
          { host: Number(each.attributes.publicIP.value & 255n), retained: table.isRetained(each) },
        ]);
        expect(new Map(state as [])).toEqual(model.known);
        for (const each of change.removed) before.delete(numbers([each])[0]);
        for (const each of [...change.added, ...change.changed]) before.set(numbers([each])[0], each);
        expect(new Map([...before].map(([key, each]) => [key, each.attributes]))).toEqual(
          new Map(table.leases.map((each) => [numbers([each])[0], each.attributes])),
        );
      }
    }),
    { numRuns: 300 },
  );
});
