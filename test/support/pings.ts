import { once } from "node:events";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { createInterface } from "node:readline";
import type { Place } from "../../src/lab/place.ts";
import { ended } from "../../src/lab/program.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import type { Abortable } from "../../src/lib/abortable.ts";

export interface PingCount<T> {
  readonly sent: number;
  /** On the way: not what came back to a ping that had no room for it. */
  readonly lost: number;
  /** Which ones ping has not shown an answer of, of those since its first answer: by number, of which the first that was sent is 1. */
  readonly missing: readonly number[];
  /** What the action returned. */
  readonly result: T;
}

interface PingDuringOptions extends Abortable {
  readonly to: string;
  /** Seconds between two pings; 0.01. */
  readonly interval?: number;
}

/**
 * How many pings that are sent after the action must be answered, and how long that may take: a path that stays dead counts as lost. What
 * waited in a queue has been answered by then, or never will be. Twenty take 0.2 s, and ping sends later, and never more often, where
 * others load the machine.
 */
const AFTERWARDS = { answers: 20, within: 5_000 };

/** How long an answer may come after later ones: each processor has a queue of its own, and another program may keep one of them busy. */
const LATER = { within: 300, what: "what is late arrives" };

/**
 * Pings 100 times a second during an action and counts what was never answered. Ping itself must be answered before the action begins.
 * @param action gets `answered`, which waits for an answer to a ping that was just sent: for the third of an interval none is under way then
 */
export async function pingDuring<T>(
  from: Place,
  { to, interval = 0.01, signal }: PingDuringOptions,
  action: (pings: { readonly answered: () => Promise<unknown> }) => Promise<T>,
): Promise<PingCount<T>> {
  const ping = from.spawn(["ping", "-n", "-D", "-i", String(interval), to], { stdio: ["ignore", "pipe", "inherit"] });
  const exit = ended(ping);
  if (ping.stdout === null) throw new Error("ping has no output");
  const answered = new Set<number>();
  let sent = 0;
  let latest = 0;
  let highest = 0;
  let end = Number.POSITIVE_INFINITY; // of the action
  let sentAfterwards = 0;
  const lines = createInterface({ input: ping.stdout });
  lines.on("line", (line) => {
    const number = / icmp_seq=(\d+) ttl=/.exec(line)?.[1];
    if (number !== undefined) {
      latest = unwrapped(Number(number), latest);
      highest = Math.max(highest, latest);
      answered.add(latest);
      if (sentAt(line) > end) sentAfterwards++;
    }
    sent = Number(/^(\d+) packets transmitted/.exec(line)?.[1] ?? sent);
  });
  const closed = once(lines, "close");
  try {
    await waitUntil(() => answered.size > 5, { signal, within: 20_000, what: `${from.title} pings ${to}` });
    const justAnswered = async () => {
      for (;;) {
        const [line] = (await once(lines, "line", { signal })) as [string];
        if (Date.now() - sentAt(line) < interval * 1000 * 0.7) return;
      }
    };
    const first = Math.min(...answered);
    const missingTo = (last: number) =>
      Array.from({ length: last - first }, (_, index) => first + 1 + index).filter((number) => !answered.has(number));
    const result = await action({ answered: justAnswered });
    end = Date.now();
    const recovers = waitUntil(() => sentAfterwards >= AFTERWARDS.answers, {
      signal,
      within: AFTERWARDS.within,
      what: `${from.title} still pings ${to}`,
    });
    const recovered = await recovers.then(
      () => true,
      () => false,
    );
    // The answers to the last packets are still under way when ping is stopped; later than the last answer, only a dead path counts.
    const latestAnswer = highest;
    if (recovered) await waitUntil(() => missingTo(latestAnswer).length === 0, { signal, ...LATER }).catch(() => {});
    const overflow = ping.exitCode === null && ping.pid !== undefined ? overflowOf(ping.pid) : 0;
    ping.kill("SIGINT");
    await Promise.all([exit, closed]);
    const last = recovered ? latestAnswer : sent;
    const missing = missingTo(last);
    return { sent: last, lost: Math.max(0, missing.length - overflow), missing, result };
  } finally {
    ping.kill("SIGKILL");
  }
}

/** When the ping was sent whose answer this line tells of, in ms as by `Date.now()`: when it came, by `-D`, without how long it took. */
function sentAt(line: string): number {
  const [, seconds, time] = /^\[([\d.]+)\] .* time=([\d.]+) ms/.exec(line) ?? [];
  return Number(seconds) * 1000 - Number(time);
}

/**
 * How many answers have come back to a ping whose queue was full. It holds some 150: where the machine stands still for two seconds, as many
 * as that come back at once. proc_net(5): the last column of raw sockets.
 */
function overflowOf(pid: number): number {
  const descriptors = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
  const sockets = ["raw", "raw6"].flatMap((file) =>
    readFileSync(`/proc/${pid}/net/${file}`, "latin1").split("\n").slice(1),
  );
  const drops = sockets.map((line) => {
    const fields = line.trim().split(/\s+/);
    return descriptors.includes(`socket:[${fields[9]}]`) ? Number(fields.at(-1)) : 0;
  });
  return drops.reduce((sum, count) => sum + count, 0);
}

/** Numbers of pings have 16 bits. @returns the number that ends in these and is nearest to one seen before */
function unwrapped(number: number, near: number): number {
  const ahead = (number - near) & 0xffff;
  return near + (ahead < 0x8000 ? ahead : ahead - 0x10000);
}
