/**
 * The addresses that packets may come from, as ranges: first and last of each, ascending, with gaps between.
 * @param addresses of peers, as 32-bit words in any order, signed or not; 0 is none
 * @param accepted ranges, in any order
 */
export function sourceRanges(addresses: Int32Array, accepted: Uint32Array): Uint32Array {
  const peers = Uint32Array.from(addresses)
    .filter((address) => address !== 0)
    .toSorted();
  const others = Array.from({ length: accepted.length / 2 }, (_, index) => accepted.subarray(2 * index, 2 * index + 2));
  others.sort((a, b) => at(a, 0) - at(b, 0));
  const ranges = new Uint32Array(2 * (peers.length + others.length));
  let used = 0;
  const add = (first: number, last: number) => {
    if (used > 0 && first <= at(ranges, used - 1) + 1) ranges[used - 1] = Math.max(at(ranges, used - 1), last);
    else {
      ranges[used++] = first;
      ranges[used++] = last;
    }
  };
  let next = 0;
  const addOthersUpTo = (address: number) => {
    for (let other = others[next]; other !== undefined && at(other, 0) <= address; other = others[++next])
      add(at(other, 0), at(other, 1));
  };
  for (const peer of peers) {
    addOthersUpTo(peer);
    add(peer, peer);
  }
  addOthersUpTo(0xffff_ffff);
  return ranges.slice(0, used);
}

/**
 * Fewer ranges that hold all the addresses of these, and as few others as can be: the smallest gaps are closed.
 * @param ranges as of {@link sourceRanges}
 * @param most at least 1
 */
export function widenRanges(ranges: Uint32Array, most: number): Uint32Array {
  const count = ranges.length / 2;
  if (count <= most) return ranges;
  const gaps = Float64Array.from({ length: count - 1 }, (_, index) => gapAfter(ranges, index));
  /** The smallest that stays open, and how many of that size do. */
  const least = gaps.toSorted()[count - most] ?? Number.POSITIVE_INFINITY;
  let open = most - 1 - gaps.filter((gap) => gap > least).length;
  const wide: number[] = [at(ranges, 0)];
  for (const [index, gap] of gaps.entries())
    if (gap > least || (gap === least && open-- > 0)) wide.push(at(ranges, 2 * index + 1), at(ranges, 2 * index + 2));
  wide.push(at(ranges, ranges.length - 1));
  return Uint32Array.from(wide);
}

function gapAfter(ranges: Uint32Array, index: number): number {
  return at(ranges, 2 * index + 2) - at(ranges, 2 * index + 1);
}

function at(words: Uint32Array, index: number): number {
  return words[index] ?? 0;
}
