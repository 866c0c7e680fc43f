import { expect, test } from "vitest";
import { Arena } from "../lib/arena.ts";
import { ScatterList } from "./scatter-list.ts";

/** Two of `struct iovec` where pointers have 8 bytes: base u64, length u64. */
const iovec = (arena: Arena, at: number, base: number) => [
  Number(arena.view.getBigUint64(at, true) - BigInt(base)),
  Number(arena.view.getBigUint64(at + 8, true)),
];

test.each([0x10_0000, 0x7f00_8000_0000, 0x7fff_ffff_0000, 0x7f5a_fffe_8000])(
  "ScatterList names pieces by addresses that begin at %d, and finds them again",
  (base) => {
    const arena = new Arena(1 << 20);
    const list = new ScatterList(arena, base, 5);
    const pieces = [
      [0x1_0000, 1],
      [0x1_8000, 65_535], // the lower half of the last base has passed 2^32 here
      [0x1_7fff, 20],
      [arena.bytes.length - 1, 1],
      [0x1_8001, 0],
    ] as const;
    for (const [at, length] of pieces) list.piece(at, length);
    for (const [index, piece] of pieces.entries()) {
      expect(iovec(arena, list.offsetOf(index), base)).toEqual(piece);
      expect([list.startOf(index), list.lengthOf(index)]).toEqual(piece);
      const address = base + list.offsetOf(index);
      expect(list.indexOf(Number(BigInt.asIntN(32, BigInt(address))))).toBe(index);
    }
    expect(list.count).toBe(5);
    list.clear();
    expect(list.count).toBe(0);
    list.piece(0x1_1111, 7);
    expect(iovec(arena, list.at, base)).toEqual([0x1_1111, 7]);
  },
);
