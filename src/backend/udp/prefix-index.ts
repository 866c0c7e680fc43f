import { addressBits, type Family } from "../../ip/address.ts";
import type { Prefix } from "../../ip/prefix.ts";

/** What a lookup gives where no prefix holds the address. */
export const NONE = -1;

export interface PrefixEntry {
  readonly prefix: Prefix;
  /** Any 32-bit integer but `NONE`. */
  readonly value: number;
}

/** What an index is made of: plain memory, so that it can be handed to another thread without a copy. */
export interface PrefixIndexData {
  /** The prefix lengths present, the longest first, each by `LEVEL_WORDS` words. */
  readonly levels: Int32Array<ArrayBuffer>;
  /** For every length a hash table, at most half full. A cell is the prefix's one or four words, then its value + 1; 0 is an empty cell. */
  readonly cells: Int32Array<ArrayBuffer>;
}

/** Four words of mask, of which IPv4 uses one; then these. */
const LEVEL_WORDS = 8;
const BASE = 4; // where the level's cells begin
const SHIFT = 5; // 32 − log₂ of their number
const WRAP = 6; // their number − 1

/** 2³² divided by the golden ratio: multiplied by it, prefixes that follow each other come to lie far apart. */
const SPREAD = 0x9e37_79b1 | 0;

/** Of two entries for one prefix the last counts; entries of the other family are left out. */
export function buildPrefixIndex(family: Family, entries: Iterable<PrefixEntry>): PrefixIndexData {
  const byLength = new Map<number, PrefixEntry[]>();
  for (const entry of entries) {
    if (entry.prefix.address.family !== family) continue;
    const same = byLength.get(entry.prefix.length);
    if (same === undefined) byLength.set(entry.prefix.length, [entry]);
    else same.push(entry);
  }
  const lengths = [...byLength.keys()].toSorted((a, b) => b - a);
  const keyWords = addressBits(family) / 32;
  const levels = new Int32Array(lengths.length * LEVEL_WORDS);
  let size = 0;
  for (const [index, length] of lengths.entries()) {
    const bits = Math.ceil(Math.log2(byLength.get(length)?.length ?? 1)) + 1;
    for (let word = 0; word < keyWords; word++) levels[index * LEVEL_WORDS + word] = maskWord(length - 32 * word);
    levels.set([size, 32 - bits, 2 ** bits - 1], index * LEVEL_WORDS + BASE);
    size += (keyWords + 1) * 2 ** bits;
  }
  const cells = new Int32Array(size);
  for (const [index, length] of lengths.entries())
    fill(cells, levels.subarray(index * LEVEL_WORDS, (index + 1) * LEVEL_WORDS), keyWords, byLength.get(length) ?? []);
  return { levels, cells };
}

/** The mask of `length` leading ones, which may be negative or more than 32. */
function maskWord(length: number): number {
  return length <= 0 ? 0 : length >= 32 ? -1 : -1 << (32 - length);
}

function fill(cells: Int32Array, level: Int32Array, keyWords: number, entries: readonly PrefixEntry[]): void {
  const halves = new BigUint64Array(2);
  const words = new Int32Array(halves.buffer); // little-endian: the low word of each half first
  const key = new Int32Array(4);
  const [, , , , base = 0, shift = 0, wrap = 0] = level;
  for (const { prefix, value } of entries) {
    const { address } = prefix;
    if (keyWords === 1) key[0] = Number(address.value) & (level[0] as number);
    else {
      halves[0] = address.value >> 64n;
      halves[1] = address.value; // what does not fit is cut off
      for (let word = 0; word < 4; word++) key[word] = (words[word ^ 1] as number) & (level[word] as number);
    }
    let cell =
      (keyWords === 1
        ? hash4(key[0] as number)
        : hash6(key[0] as number, key[1] as number, key[2] as number, key[3] as number)) >>> shift;
    for (;;) {
      const at = base + cell * (keyWords + 1);
      if (cells[at + keyWords] === 0 || sameKey(cells, at, key, keyWords)) {
        for (let word = 0; word < keyWords; word++) cells[at + word] = key[word] as number;
        cells[at + keyWords] = value + 1;
        break;
      }
      cell = (cell + 1) & wrap;
    }
  }
}

function sameKey(cells: Int32Array, at: number, key: Int32Array, keyWords: number): boolean {
  for (let word = 0; word < keyWords; word++) if (cells[at + word] !== key[word]) return false;
  return true;
}

function hash4(key: number): number {
  return Math.imul(key, SPREAD);
}

function hash6(w0: number, w1: number, w2: number, w3: number): number {
  return Math.imul(Math.imul(Math.imul(Math.imul(w0, SPREAD) ^ w1, SPREAD) ^ w2, SPREAD) ^ w3, SPREAD);
}

/**
 * Longest-prefix match over what `buildPrefixIndex` made of the same family: one look into a hash table per prefix length present,
 * however many prefixes there are. Addresses are words in network order, signed or not.
 */
export class PrefixIndex {
  readonly #levels: Int32Array;
  readonly #cells: Int32Array;

  constructor({ levels, cells }: PrefixIndexData) {
    this.#levels = levels;
    this.#cells = cells;
  }

  /** @returns the value of the longest prefix that holds the IPv4 address, or `NONE` */
  lookup4(address: number): number {
    const levels = this.#levels;
    const cells = this.#cells;
    for (let level = 0; level < levels.length; level += LEVEL_WORDS) {
      const key = address & (levels[level] as number);
      const base = levels[level + BASE] as number;
      const wrap = levels[level + WRAP] as number;
      let cell = hash4(key) >>> (levels[level + SHIFT] as number);
      for (;;) {
        const at = base + 2 * cell;
        const value = cells[at + 1] as number;
        if (value === 0) break;
        if (cells[at] === key) return (value - 1) | 0;
        cell = (cell + 1) & wrap;
      }
    }
    return NONE;
  }

  /** @returns the value of the longest prefix that holds the IPv6 address, or `NONE` */
  lookup6(w0: number, w1: number, w2: number, w3: number): number {
    const levels = this.#levels;
    const cells = this.#cells;
    for (let level = 0; level < levels.length; level += LEVEL_WORDS) {
      const k0 = w0 & (levels[level] as number);
      const k1 = w1 & (levels[level + 1] as number);
      const k2 = w2 & (levels[level + 2] as number);
      const k3 = w3 & (levels[level + 3] as number);
      const base = levels[level + BASE] as number;
      const wrap = levels[level + WRAP] as number;
      let cell = hash6(k0, k1, k2, k3) >>> (levels[level + SHIFT] as number);
      for (;;) {
        const at = base + 5 * cell;
        const value = cells[at + 4] as number;
        if (value === 0) break;
        if (cells[at] === k0 && cells[at + 1] === k1 && cells[at + 2] === k2 && cells[at + 3] === k3)
          return (value - 1) | 0;
        cell = (cell + 1) & wrap;
      }
    }
    return NONE;
  }
}
