import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LITTLE_ENDIAN } from "../wire/writer.ts";
import { MOST_INSTRUCTIONS } from "./bpf.ts";
import { MOST_SOURCES, SAMPLE } from "./packet-ports.ts";
import { sourceFilter } from "./source-filter.ts";

/** A machine that runs it as the kernel would, as far as the filter needs one. @returns whether the socket gets the message, and in how many steps */
function run(program: Uint8Array, { source, random }: { readonly source: number; readonly random: number }) {
  const view = new DataView(program.buffer, program.byteOffset, program.length);
  let accumulator = 0;
  let steps = 0;
  for (let at = 0; ; at++) {
    steps++;
    const [code, k] = [view.getUint16(8 * at, LITTLE_ENDIAN), view.getUint32(8 * at + 4, LITTLE_ENDIAN)];
    const [ifTrue, ifFalse] = [view.getUint8(8 * at + 2), view.getUint8(8 * at + 3)];
    if (code === 0x06) return { gets: k !== 0, steps };
    else if (code === 0x05) at += k;
    else if (code === 0x20) accumulator = k === 0xffff_f038 ? random : k === 0xfff0_000c ? source : Number.NaN;
    else if (code === 0x25) at += accumulator > k ? ifTrue : ifFalse;
    else if (code === 0x35) at += accumulator >= k ? ifTrue : ifFalse;
    else if (code === 0x45) at += (accumulator & k) >>> 0 !== 0 ? ifTrue : ifFalse;
    else throw new Error(`instruction ${at} has code ${code}`);
  }
}

const gets = (program: Uint8Array, source: number, random = 1) => run(program, { source, random }).gets;

/** As many ranges as asked for: two addresses in every hundred, from the first on. */
const evenly = (count: number, first = 1000) =>
  Uint32Array.from({ length: 2 * count }, (_, index) => first + 100 * (index >> 1) + (index & 1));

describe("sourceFilter()", () => {
  test.each([1, 2, 3, 64, 127, 128, 129, 500, MOST_SOURCES])(
    "lets through %d ranges and nothing beside them",
    (count) => {
      const program = sourceFilter(evenly(count));
      expect(program.length / 8).toBeLessThanOrEqual(MOST_INSTRUCTIONS);
      for (let range = 0; range < count; range++)
        expect([-1, 0, 1, 2].map((more) => gets(program, 1000 + 100 * range + more))).toEqual([
          false,
          true,
          true,
          false,
        ]);
      expect([0, 0xffff_ffff].map((source) => gets(program, source))).toEqual([false, false]);
    },
  );

  test("decides by a range's bounds, wherever ranges lie", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.integer({ min: 0, max: 2 ** 32 - 1 }), { minLength: 4, maxLength: 300 }),
        (some) => {
          const bounds = Uint32Array.from(some)
            .toSorted()
            .subarray(0, some.length & ~3);
          // Every second of the stretches between sorted numbers is a range; those that touch another are left out.
          const ranges = bounds.filter((_, index) => index % 4 < 2);
          const program = sourceFilter(ranges);
          for (const source of bounds) expect(gets(program, source)).toBe(ranges.includes(source));
        },
      ),
    );
  });

  test("lets nobody through where nobody may send, and everybody where all may", () => {
    expect(gets(sourceFilter(new Uint32Array()), 1)).toBe(false);
    const all = sourceFilter(Uint32Array.of(0, 0xffff_ffff));
    expect([0, 1, 0xffff_ffff].map((source) => gets(all, source))).toEqual([true, true, true]);
  });

  test("shows one in so many of all others", () => {
    for (const ranges of [new Uint32Array(), evenly(3)]) {
      const program = sourceFilter(ranges);
      expect(gets(program, 1, SAMPLE * 77)).toBe(true);
      for (let random = 1; random < SAMPLE; random++) expect(gets(program, 1, SAMPLE * 77 + random)).toBe(false);
    }
  });

  test("searches: a thousand ranges take few steps", () => {
    const program = sourceFilter(evenly(1000));
    const steps = Array.from(evenly(1000), (source) => run(program, { source, random: 1 }).steps);
    expect(Math.max(...steps)).toBeLessThanOrEqual(4 + 15 + 3);
  });
});
