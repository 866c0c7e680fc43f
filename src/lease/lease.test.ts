import { describe, expect, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { parsePrefix } from "../ip/prefix.ts";
import { continuesHistory, LEASE_TTL, type Lease, leaseKey, untilRenewal } from "./lease.ts";

const MARGIN = 60 * 60 * 1000;
const lease: Lease = {
  subnet: parsePrefix("10.5.34.0/24"),
  attributes: { publicIP: parseAddress("192.0.2.1") },
  isReservation: false,
  revision: 1n,
};

describe("untilRenewal()", () => {
  test("untilRenewal() of a fresh lease is 23 hours with the usual margin", () => {
    expect(untilRenewal({ ...lease, expiresAt: 1000 + LEASE_TTL }, 1000, MARGIN)).toBe(23 * 60 * 60 * 1000);
  });

  test("untilRenewal() is 0 for an overdue lease", () => {
    expect(untilRenewal({ ...lease, expiresAt: 1000 + MARGIN }, 1000, MARGIN)).toBe(0);
    expect(untilRenewal({ ...lease, expiresAt: 500 }, 1000, MARGIN)).toBe(0);
    expect(untilRenewal({ ...lease, expiresAt: 1000 + LEASE_TTL }, 1000, 2 * LEASE_TTL)).toBe(0);
  });

  test("untilRenewal() is never for a reservation, and where no end is known", () => {
    expect(untilRenewal({ ...lease, isReservation: true }, 1000, MARGIN)).toBe(Number.POSITIVE_INFINITY);
    expect(untilRenewal({ ...lease, isReservation: true, expiresAt: 500 }, 1000, MARGIN)).toBe(
      Number.POSITIVE_INFINITY,
    );
    expect(untilRenewal(lease, 1000, MARGIN)).toBe(Number.POSITIVE_INFINITY);
  });
});

describe("continuesHistory()", () => {
  test.each([
    ["a", 5n, "a", 5n, true],
    ["a", 5n, "a", 6n, true],
    ["a", 5n, "a", 4n, false],
    ["a", 5n, "b", 6n, false],
    ["a", 2n ** 63n, "a", 2n ** 63n - 1n, false],
  ])("continuesHistory() of %s/%s by %s/%s is %s", (history, index, laterHistory, laterIndex, expected) => {
    expect(continuesHistory({ history, index }, { history: laterHistory, index: laterIndex })).toBe(expected);
  });
});

test("leaseKey() is the subnet", () => {
  expect(leaseKey(lease)).toBe("10.5.34.0/24");
});
