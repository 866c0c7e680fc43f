import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { TokenBucket } from "./token-bucket.ts";

const taken = (bucket: TokenBucket, ...times: readonly number[]) => times.map((now) => bucket.take(now));

describe("TokenBucket", () => {
  test("take() lets the burst pass at once, then one at a time", () => {
    const bucket = new TokenBucket({ perSecond: 10, burst: 3 });
    expect(taken(bucket, 5, 5, 5, 5, 104, 105, 106, 205)).toEqual([true, true, true, false, false, true, false, true]);
  });

  test("take() saves no more than the burst", () => {
    const bucket = new TokenBucket({ perSecond: 1000, burst: 2 });
    expect(taken(bucket, 0, 1e9, 1e9, 1e9)).toEqual([true, true, true, false]);
  });

  test("take() gains nothing by a clock that steps back", () => {
    const bucket = new TokenBucket({ perSecond: 1, burst: 1 });
    expect(taken(bucket, 5000, 0, 4000, 5999, 6000)).toEqual([true, false, false, false, true]);
  });

  test("take() never exceeds burst and rate in any span", () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 50 }), { minLength: 1, maxLength: 300 }), (gaps) => {
        const bucket = new TokenBucket({ perSecond: 100, burst: 5 });
        const passed: number[] = [];
        let now = 0;
        for (const gap of gaps) {
          now += gap;
          if (bucket.take(now)) passed.push(now);
        }
        for (const [index, from] of passed.entries())
          for (const [further, to] of passed.slice(index).entries())
            expect(further + 1).toBeLessThanOrEqual(5 + (to - from) / 10 + 1e-6);
      }),
    );
  });
});
