import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { backoff } from "./backoff.ts";

const range = { first: 100, most: 5_000 };

describe("backoff()", () => {
  test("backoff() doubles from the first to the most", () => {
    const waits = [1, 2, 3, 4, 5, 6, 7, 8].map((failures) => backoff(failures, range, () => 0));
    expect(waits).toEqual([100, 200, 400, 800, 1600, 3200, 5000, 5000]);
  });

  test("backoff() is shortened by up to a fifth", () => {
    expect(backoff(1, range, () => 1)).toBeCloseTo(80);
    expect(backoff(99, range, () => 0.5)).toBeCloseTo(4500);
  });

  test("backoff() stays within its range after however many failures", () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.nat(), fc.maxSafeInteger()),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (failures, dice) => {
          const wait = backoff(failures, range, () => dice);
          expect(wait).toBeGreaterThanOrEqual(80);
          expect(wait).toBeLessThanOrEqual(5_000);
        },
      ),
    );
  });
});
