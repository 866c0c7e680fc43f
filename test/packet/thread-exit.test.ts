import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";

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

/** From a file: a thread inherits --input-type, which its own file must not be run with. */
async function runs(end: string): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), "flannel-thread-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const file = join(directory, "program.mjs");
  writeFileSync(file, program(end));
  return (await promisify(execFile)(process.execPath, [file], { timeout: 20_000 })).stdout;
}

async function outcome(end: string): Promise<{ readonly code: unknown; readonly killed: boolean }> {
  try {
    await runs(end);
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

/** Asks at once, and then until there were four answers. */
const PULSES = `
  const heard = new Set();
  const timer = setInterval(() => {
    const { steps, isDue } = thread.pulse();
    if (isDue) heard.add(steps);
    else if (heard.size > 0) throw new Error("it has ended");
    if (heard.size < 5) return;
    clearInterval(timer);
    console.log(JSON.stringify({ atOnce, heard: [...heard] }));
    thread[Symbol.asyncDispose]();
  }, 50);
  const atOnce = thread.pulse();`;

test("startPacketThread()'s thread has nothing to do until it is loaded, and then shows a step each time it is asked, though it waits in the kernel", async () => {
  expect(JSON.parse(await runs(PULSES))).toEqual({ atOnce: { steps: 0, isDue: false }, heard: [0, 1, 2, 3, 4] });
});
