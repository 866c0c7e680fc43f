import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const THREAD = new URL("../../src/backend/udp/thread.ts", import.meta.url).href;
const COUNTERS = new URL("../../src/backend/udp/counters.ts", import.meta.url).href;
const FORWARDING = new URL("../../src/backend/udp/forwarding.ts", import.meta.url).href;

/** A process whose packet thread waits in the kernel, where Node cannot reach it, and that does `end` then. */
function program(end: string): string {
  return `
    import { createCounters } from ${JSON.stringify(COUNTERS)};
    import { buildForwarding } from ${JSON.stringify(FORWARDING)};
    import { startPacketThread } from ${JSON.stringify(THREAD)};
    const forwarding = buildForwarding({ networks: [], ownSubnets: [], ownAddresses: [], peers: [], acceptFrom: [] });
    const fixed = { port: 8285, isPlain: false, isVerbose: false, addresses: [], onNews() {} };
    const thread = startPacketThread({ ...fixed, counters: createCounters(16), forwarding });
    ${end}`;
}

async function outcome(end: string): Promise<{ readonly code: unknown; readonly killed: boolean }> {
  try {
    await promisify(execFile)(process.execPath, ["--input-type=module", "-e", program(end)], { timeout: 10_000 });
    return { code: 0, killed: false };
  } catch (error) {
    const { code, killed } = error as { readonly code: unknown; readonly killed: boolean };
    return { code, killed };
  }
}

test.each([
  ["process.exit() at once", "process.exit(3);", 3],
  ["process.exit() while the thread starts", "setTimeout(() => process.exit(3), 40);", 3],
  ["process.exit() while the thread waits", "setTimeout(() => process.exit(3), 1_000);", 3],
  ["an error that nobody caught", 'setTimeout(() => { throw new Error("a bug"); }, 1_000);', 1],
  ["a promise that nobody looked at", 'setTimeout(() => Promise.reject(new Error("a bug")), 1_000);', 1],
  ["being asked", "setTimeout(() => thread[Symbol.asyncDispose](), 1_000);", 0],
])("startPacketThread() keeps no process from ending by %s", async (_, end, code) => {
  expect(await outcome(end)).toEqual({ code, killed: false });
});
