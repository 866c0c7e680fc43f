import { describe, expect, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { parsePrefix } from "../ip/prefix.ts";
import type { LeaseEvent } from "../lease/lease.ts";
import { ChangeLog } from "./change-log.ts";

const subnet = (number: number) => parsePrefix(`10.5.${number}.0/24`);
const added = (number: number, revision: bigint): LeaseEvent => ({
  type: "added",
  lease: {
    subnet: subnet(number),
    attributes: { publicIP: parseAddress("192.0.2.1") },
    isReservation: false,
    revision,
  },
});
const removed = (number: number): LeaseEvent => ({ type: "removed", subnet: subnet(number) });
const batch = (index: bigint, ...events: readonly LeaseEvent[]) =>
  ({ type: "events", events, cursor: { history: "h", index } }) as const;

describe("ChangeLog", () => {
  test("ChangeLog gives each change its own place", () => {
    const log = new ChangeLog(10n, 100);
    log.add(batch(14n, added(1, 11n), added(2, 12n), removed(1)));
    expect(log.after(10n).map((change) => change.index)).toEqual([11n, 12n, 14n]);
    expect(log.after(11n).map((change) => change.index)).toEqual([12n, 14n]);
    expect(log.after(14n)).toEqual([]);
    expect(log.lastIndex).toBe(14n);
  });

  test("ChangeLog places a removal of unknown index as early as it may have been, never later than what follows", () => {
    const log = new ChangeLog(10n, 100);
    log.add(batch(50n, removed(1), removed(2), added(3, 40n)));
    const places = log.after(10n).map((change) => change.index);
    expect(places).toEqual([11n, 12n, 40n]);
  });

  test("ChangeLog keeps together what one transaction did", () => {
    const log = new ChangeLog(10n, 100);
    log.add(batch(20n, added(1, 20n), removed(2), removed(3)));
    expect(log.after(10n)).toMatchObject([{ index: 20n, events: [{ type: "added" }, {}, {}] }]);
  });

  test("ChangeLog forgets the oldest and knows what it does not reach any more", () => {
    const log = new ChangeLog(0n, 100);
    for (let revision = 1n; revision <= 1000n; revision++) log.add(batch(revision, added(1, revision)));
    expect(log.reaches(0n)).toBe(false);
    const known = log.after(900n);
    expect(known).toHaveLength(100);
    expect(log.reaches(900n)).toBe(true);
    expect(log.reaches(800n)).toBe(false);
  });

  test("ChangeLog reaches back to where it began, though nothing has happened", () => {
    const log = new ChangeLog(10n, 100);
    expect([log.reaches(9n), log.reaches(10n), log.reaches(11n)]).toEqual([false, true, true]);
    expect(log.after(10n)).toEqual([]);
  });
});
