// npm run soak [-- --minutes 60 --gigabytes 1 --bitrate 500M]
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Lab } from "../src/lab/lab.ts";
import type { LabHost } from "../src/lab/lab-host.ts";
import type { Place } from "../src/lab/place.ts";
import { pingDuring } from "../test/support/pings.ts";
import { cpuSeconds, residentMiB } from "../test/support/process-usage.ts";
import { duplex } from "../test/udp/duplex.ts";
import { BENCH_NETWORK } from "./fake-peers.ts";
import { median } from "./figures.ts";
import { droppedByFullQueues } from "./full-queues.ts";
import { PeerWriter } from "./peer-writer.ts";
import { untilStopped, Verdicts } from "./verdicts.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "60" },
    gigabytes: { type: "string", default: "1" },
    bitrate: { type: "string", default: "500M" }, // of TCP, each way
  },
});

/** How often memory is looked at. */
const SAMPLE_EVERY = 5_000;
/** MiB that the last quarter of an hour may need more than the second: the first is for what is made once. */
const MOST_GROWTH = 4;
/** Packets a second that the device's queue of 500 holds for a quarter of a second: only a very busy machine loses some. */
const DATAGRAMS = { rate: "1M", size: "64" };

const signal = untilStopped();
const verdicts = new Verdicts();

const network = { network: BENCH_NETWORK, config: { SubnetLen: 24, SubnetMin: "10.9.0.0", SubnetMax: "10.9.255.0" } };
await using lab = await Lab.up({ hosts: 2, backend: "udp", ...network, signal, progress: (step) => console.log(step) });
const [left, right] = lab.hosts as [LabHost, LabHost];
const [from, to] = [left.pods[0], right.pods[0]] as [Place, Place];

await large(`${values.gigabytes} GB each way`, Number(values.gigabytes));
await left.namespace.run(["nft", "-f", "-"], {
  input:
    "table ip soak { chain lossy { type filter hook input priority 0; udp dport 8285 numgen random mod 1000 < 1 drop; }; }",
});
await large("a quarter of that with a datagram of a thousand lost", Number(values.gigabytes) / 4);
await left.namespace.run(["nft", "delete", "table", "ip", "soak"]);
await mixed(Number(values.minutes) * 60_000);

verdicts.conclude();

/** Both directions at once; what arrives must be what was sent. */
async function large(what: string, gigabytes: number): Promise<void> {
  const { isIntact, bytes, seconds } = await duplex(from, to, { bytes: Math.round(gigabytes * 1e9), signal });
  verdicts.tell(`${what}: ${(bytes / 1e9).toFixed(2)} GB in ${seconds.toFixed(1)} s, intact`, isIntact);
}

/** TCP in bursts, datagrams, pings, peers that come and go: nothing may be lost, and memory may not grow. */
async function mixed(duration: number): Promise<void> {
  const ending = AbortSignal.any([signal, AbortSignal.timeout(duration)]);
  const memory: { readonly left: number; readonly right: number }[] = [];
  const datagrams = { sent: 0, lost: 0 };
  const cpu = cpuOf();
  const places = [left, right, from, to];
  const full = await droppedByFullQueues(places);
  await using writer = await PeerWriter.start(lab);
  const { sent, lost } = await pingDuring(from, { to: to.address, signal }, () =>
    Promise.all([
      repeat(ending, async () => {
        await iperf(to, from, ["--time", "10", "--bitrate", values.bitrate, "--bidir"], 5201);
        await delay(2_000);
      }),
      repeat(ending, async () => {
        const { end } = await iperf(from, to, ["--time", "20", "-u", "-b", DATAGRAMS.rate, "-l", DATAGRAMS.size], 5202);
        datagrams.sent += end.sum?.packets ?? 0;
        datagrams.lost += end.sum?.lost_packets ?? 0;
      }),
      repeat(ending, async () => {
        await writer.write({ type: "put", from: 0, count: 200 });
        await delay(1_000);
        await writer.write({ type: "remove", from: 0, count: 200 });
        await delay(1_000);
      }),
      repeat(ending, async () => {
        memory.push({ left: residentMiB(pidOf(left)), right: residentMiB(pidOf(right)) });
        if (memory.length % 12 === 0) console.log(`${memory.length / 12} min: ${JSON.stringify(memory.at(-1))} MiB`);
        await delay(SAMPLE_EVERY);
      }),
    ]),
  );
  const found = (await droppedByFullQueues(places)) - full;
  const losses = `pings: ${sent} sent, ${lost} lost; 64-byte datagrams: ${datagrams.sent} sent, ${datagrams.lost} lost`;
  verdicts.tell(`${losses}; packets of all kinds that found a queue full: ${found}`, lost + datagrams.lost <= found);
  for (const side of ["left", "right"] as const) {
    const [early, late] = [quarter(memory, 1), quarter(memory, 3)].map((part) => median(part.map((one) => one[side])));
    const text = `memory of the ${side} host's flanneld: ${early?.toFixed(1)} MiB, later ${late?.toFixed(1)} MiB`;
    verdicts.tell(text, (late ?? 0) - (early ?? 0) <= MOST_GROWTH);
  }
  console.log(`     processor time of both: ${(cpuOf() - cpu).toFixed(1)} s in ${duration / 1000} s`);
}

async function repeat(ending: AbortSignal, work: () => Promise<unknown>): Promise<void> {
  while (!ending.aborted) await work();
  signal.throwIfAborted();
}

function quarter<T>(all: readonly T[], which: 0 | 1 | 2 | 3): readonly T[] {
  return all.slice(Math.floor((all.length * which) / 4), Math.floor((all.length * (which + 1)) / 4));
}

function pidOf(host: LabHost): number {
  if (host.daemon.pid === undefined) throw new Error(`flanneld of ${host.name} does not run`);
  return host.daemon.pid;
}

function cpuOf(): number {
  return cpuSeconds(pidOf(left)) + cpuSeconds(pidOf(right));
}

interface IperfReport {
  readonly end: { readonly sum?: { readonly packets: number; readonly lost_packets: number } };
}

async function iperf(client: Place, server: Place, args: readonly string[], port: number): Promise<IperfReport> {
  const child = server.spawn(["iperf3", "--server", "--one-off", "--port", String(port)], { stdio: "ignore" });
  try {
    await delay(300);
    const argv = ["iperf3", "--client", server.address, "--port", String(port), "--json", ...args];
    return JSON.parse(await client.run(argv, { signal })) as IperfReport;
  } finally {
    child.kill();
  }
}
