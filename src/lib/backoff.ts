import type { Milliseconds } from "./clock.ts";

export interface BackoffRange {
  readonly first: Milliseconds;
  readonly most: Milliseconds;
}

/**
 * How long to wait after the `failures`-th failure in a row (1, 2, …): doubling from `first` to `most`,
 * shortened by up to a fifth at random so that many hosts do not come back together.
 */
export function backoff(
  failures: number,
  { first, most }: BackoffRange,
  random: () => number = Math.random,
): Milliseconds {
  const full = Math.min(most, first * 2 ** Math.min(Math.max(failures, 1) - 1, 52));
  return full * (1 - random() / 5);
}
