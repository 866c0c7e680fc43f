import { setTimeout as delay } from "node:timers/promises";

/** Resolves once a frozen etcd does not answer any more: of a program with many threads, the kernel stops one after the other. */
export async function untilSilent(endpoint: string): Promise<void> {
  const answers = () =>
    fetch(`${endpoint}/health`, { signal: AbortSignal.timeout(300) }).then(
      () => true,
      () => false,
    );
  while (await answers()) await delay(20);
}
