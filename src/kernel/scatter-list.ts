import type { Arena } from "../lib/arena.ts";

/** Bytes of a `struct iovec`: address u64, length u64. */
const IOVEC = 16;

/** Pieces of memory that one call reads from or writes to: `struct iovec[]` in an arena. */
export class ScatterList {
  /** Offset of the first one. */
  readonly at: number;
  readonly capacity: number;
  count = 0;
  readonly #words: Int32Array;
  readonly #low: number;
  readonly #high: number;

  /** @param base the arena's address */
  constructor(arena: Arena, base: number, capacity: number) {
    this.at = arena.reserve(capacity * IOVEC);
    this.capacity = capacity;
    this.#words = arena.words;
    this.#low = base % 0x1_0000_0000;
    this.#high = Math.floor(base / 0x1_0000_0000);
  }

  /** Appends a piece. There must be room. */
  piece(at: number, length: number): void {
    const words = this.#words;
    const word = (this.at >> 2) + this.count * 4;
    const low = this.#low + at;
    words[word] = low | 0;
    words[word + 1] = low < 0x1_0000_0000 ? this.#high : this.#high + 1;
    words[word + 2] = length;
    words[word + 3] = 0;
    this.count++;
  }

  clear(): void {
    this.count = 0;
  }

  /** Offset of the `struct iovec` itself. */
  offsetOf(index: number): number {
    return this.at + index * IOVEC;
  }

  /** Which piece has its `struct iovec` at an address, of which the lower 32 bits are given. */
  indexOf(low: number): number {
    return ((low - this.#low - this.at) | 0) / IOVEC;
  }

  /** Where a piece lies. */
  startOf(index: number): number {
    const low = (this.#words[this.offsetOf(index) >> 2] ?? 0) >>> 0;
    return low >= this.#low ? low - this.#low : low + 0x1_0000_0000 - this.#low;
  }

  lengthOf(index: number): number {
    return this.#words[(this.offsetOf(index) >> 2) + 2] ?? 0;
  }
}
