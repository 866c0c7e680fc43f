import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { sourceRanges, widenRanges } from "./source-ranges.ts";

const ip = (text: string) => text.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
const peers = (...texts: readonly string[]) => Int32Array.from(texts.map(ip));
const accepted = (...texts: readonly string[]) => Uint32Array.from(texts.map(ip));
const text = (ranges: Uint32Array) => {
  const ends = Array.from(ranges, (address) => [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join("."));
  return ends.flatMap((end, index) => (index % 2 === 0 ? [`${end}-${ends[index + 1]}`] : []));
};

/** Whether one of the ranges holds the address, the slow way. */
function holds(ranges: Uint32Array, address: number): boolean {
  for (let index = 0; index < ranges.length; index += 2)
    if ((ranges[index] ?? 0) <= address && address <= (ranges[index + 1] ?? 0)) return true;
  return false;
}

const addresses = fc.array(fc.oneof(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 2 ** 32 - 1 })), {
  maxLength: 60,
});
const pairs = fc.array(
  fc.tuple(fc.nat(200), fc.nat(2 ** 31)).map(([first, size]) => [first, Math.min(2 ** 32 - 1, first + (size % 50))]),
  { maxLength: 6 },
);

describe("sourceRanges()", () => {
  test("joins addresses that follow one another, and networks with what lies in them", () => {
    const ranges = sourceRanges(
      peers("192.0.2.3", "10.0.0.1", "192.0.2.2", "0.0.0.0", "192.0.2.5", "255.255.255.255"),
      accepted("192.0.2.4", "192.0.2.7", "10.0.0.0", "10.0.0.255"),
    );
    expect(text(ranges)).toEqual(["10.0.0.0-10.0.0.255", "192.0.2.2-192.0.2.7", "255.255.255.255-255.255.255.255"]);
  });

  test("are none where nobody may send, and all where everybody may", () => {
    expect([...sourceRanges(peers(), accepted())]).toEqual([]);
    expect(text(sourceRanges(peers("192.0.2.1"), accepted("0.0.0.0", "255.255.255.255")))).toEqual([
      "0.0.0.0-255.255.255.255",
    ]);
  });

  test("hold what they were given and nothing else, ascending with gaps between", () => {
    fc.assert(
      fc.property(addresses, pairs, fc.nat(300), (from, others, probe) => {
        const accept = Uint32Array.from(others.flat());
        const ranges = sourceRanges(Int32Array.from(from), accept);
        for (let index = 2; index < ranges.length; index += 2)
          expect(ranges[index] ?? 0).toBeGreaterThan((ranges[index - 1] ?? 0) + 1);
        for (const address of [...from, probe])
          expect(holds(ranges, address)).toBe(from.includes(address) || holds(accept, address));
      }),
    );
  });
});

describe("widenRanges()", () => {
  test("closes the smallest gaps", () => {
    const ranges = sourceRanges(peers("10.0.0.1", "10.0.0.3", "10.0.1.1", "10.0.1.4", "10.0.9.1"), accepted());
    expect(text(widenRanges(ranges, 3))).toEqual(["10.0.0.1-10.0.0.3", "10.0.1.1-10.0.1.4", "10.0.9.1-10.0.9.1"]);
    expect(text(widenRanges(ranges, 1))).toEqual(["10.0.0.1-10.0.9.1"]);
    expect(widenRanges(ranges, 5)).toEqual(ranges);
  });

  test("loses no address, and makes as many ranges as it may", () => {
    fc.assert(
      fc.property(addresses, pairs, fc.integer({ min: 1, max: 20 }), (from, others, most) => {
        const ranges = sourceRanges(Int32Array.from(from), Uint32Array.from(others.flat()));
        const wide = widenRanges(ranges, most);
        expect(wide.length).toBe(Math.min(ranges.length, 2 * most));
        for (const address of ranges) expect(holds(wide, address)).toBe(true);
        expect([...wide]).toEqual([...wide].toSorted((a, b) => a - b));
      }),
    );
  });
});
