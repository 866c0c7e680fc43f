import type { Milliseconds } from "../lib/clock.ts";

/** How often a cloud's API is asked at most; everybody in the account shares what it allows. */
export interface Pace {
  readonly resyncEvery: Milliseconds;
  /** What fails and keeps failing is tried this seldom in the end. */
  readonly longestRetry: Milliseconds;
}

/** Missing permissions and full tables are mended by people. */
const LONGEST_RETRY: Milliseconds = 300_000;

/** The same for no two hosts: up to a fifth sooner or later, so that those that started together do not ask together. */
export function pace(checkEvery: Milliseconds, random: () => number = Math.random): Pace {
  return {
    resyncEvery: checkEvery * (0.8 + 0.4 * random()),
    longestRetry: Math.min(LONGEST_RETRY, checkEvery),
  };
}
