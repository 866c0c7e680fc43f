import {
  ALL,
  encodeInstructions,
  GO_ON,
  IF_ANY_BIT,
  IF_AT_LEAST,
  IF_GREATER,
  type Instruction,
  LOAD_32,
  NOTHING,
  RETURN,
} from "./bpf.ts";
import { SAMPLE } from "./packet-ports.ts";

/** Where a load looks instead of the message: SKF_NET_OFF, the IP header; SKF_AD_OFF + SKF_AD_RANDOM, a number of 32 random bits. */
const IP_HEADER = 0xfff0_0000;
const RANDOM = 0xffff_f038;
const SOURCE = 12; // in an IPv4 header
const FARTHEST = 255;

/**
 * A program for a UDP socket of IPv4: what comes from one of these addresses gets through, and of all else one message in {@link SAMPLE}.
 * A search tree: a thousand ranges cost ten comparisons.
 * @param ranges first and last address of each, ascending, with gaps between; at most `MOST_SOURCES`
 */
export function sourceFilter(ranges: Uint32Array): Uint8Array {
  const program: Instruction[] = [
    [LOAD_32, 0, 0, RANDOM],
    [IF_ANY_BIT, 1, 0, SAMPLE - 1],
    [RETURN, 0, 0, ALL],
  ];
  const count = ranges.length / 2;
  if (count > 0)
    program.push(
      [LOAD_32, 0, 0, IP_HEADER + SOURCE],
      [IF_AT_LEAST, 1, 0, firstOf(ranges, 0)],
      [RETURN, 0, 0, NOTHING],
      ...search(ranges, 0, count),
    );
  else program.push([RETURN, 0, 0, NOTHING]);
  return encodeInstructions(program);
}

/** For an address that is not before the first of these ranges, nor beyond the last and in a later one. */
function search(ranges: Uint32Array, from: number, to: number): readonly Instruction[] {
  if (to - from === 1)
    return [
      [IF_GREATER, 0, 1, ranges[2 * from + 1] ?? 0],
      [RETURN, 0, 0, NOTHING],
      [RETURN, 0, 0, ALL],
    ];
  const middle = (from + to) >> 1;
  const before = search(ranges, from, middle);
  const after = search(ranges, middle, to);
  const first = firstOf(ranges, middle);
  if (before.length <= FARTHEST) return [[IF_AT_LEAST, before.length, 0, first], ...before, ...after];
  return [[IF_AT_LEAST, 0, 1, first], [GO_ON, 0, 0, before.length], ...before, ...after];
}

function firstOf(ranges: Uint32Array, index: number): number {
  return ranges[2 * index] ?? 0;
}
