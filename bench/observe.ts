import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { inNamespace } from "../src/kernel/namespace.ts";

/** Routes of IPv4 in a namespace, cheaply: the kernel counts them itself. */
export function countRoutes(namespace: string): number {
  const text = inNamespace(namespace, () => readFileSync("/proc/thread-self/net/fib_triestat", "latin1"));
  // Main and local stand in one trie until a rule parts them; both tables' lines count the same one then.
  return Math.max(...[...text.matchAll(/Prefixes:\s+(\d+)/g)].map((match) => Number(match[1])));
}

/** Waits until the namespace has at least (or at most) so many routes. @returns when, nanoseconds of CLOCK_MONOTONIC */
export async function routesReach(
  namespace: string,
  reached: (count: number) => boolean,
  within = 120_000,
): Promise<bigint> {
  const end = performance.now() + within;
  for (;;) {
    const now = process.hrtime.bigint();
    const count = countRoutes(namespace);
    if (reached(count)) return now;
    if (performance.now() > end) throw new Error(`still ${count} routes after ${within} ms`);
    await delay(5);
  }
}
