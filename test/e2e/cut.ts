import type { LabHost } from "../../src/lab/lab-host.ts";

/** Drops what goes between the host and a server's port without a word to either, in both directions, until disposed of. */
export async function cut(host: LabHost, port: number): Promise<AsyncDisposable> {
  const nft = (input: string) => host.run(["nft", "-f", "-"], { input });
  await nft(`
    table inet cut {
      chain in { type filter hook input priority 0; tcp sport ${port} drop; }
      chain out { type filter hook output priority 0; tcp dport ${port} drop; }
    }`);
  return { [Symbol.asyncDispose]: async () => void (await nft("delete table inet cut")) };
}
