import { setTimeout as delay } from "node:timers/promises";
import { Lab } from "../src/lab/lab.ts";
import type { Namespace } from "../src/lab/namespace.ts";
import { median, percentile, type Report } from "./figures.ts";

const ROUNDS = 3;
const SECONDS = 4;

interface Path {
  readonly name: string;
  readonly from: Namespace;
  readonly to: Namespace;
  readonly address: string;
}

interface Sample {
  readonly tcp1: number;
  readonly tcp4: number;
  readonly packets: number;
  readonly ping50: number;
  readonly ping99: number;
}

/** Pod to pod by each backend beside bare veth between the same hosts, in turn, so that the machine's moods hit all alike. */
export async function benchThroughput(report: Report, signal: AbortSignal): Promise<void> {
  const samples = new Map<string, Sample[]>();
  for (let round = 0; round < ROUNDS; round++)
    for (const backend of ["vxlan", "host-gw"] as const) {
      await using lab = await Lab.up({ hosts: 2, backend, signal });
      const [left, right] = lab.hosts;
      const [from, to] = lab.hosts.map((host) => host.pods[0]);
      if (left === undefined || right === undefined || from === undefined || to === undefined)
        throw new Error("no pods");
      const paths: Path[] = [{ name: backend, from: from.namespace, to: to.namespace, address: to.address }];
      if (backend === "vxlan")
        paths.unshift({ name: "bare veth", from: left.namespace, to: right.namespace, address: right.address });
      for (const path of paths)
        samples.set(path.name, [...(samples.get(path.name) ?? []), await measure(path, signal)]);
    }
  const rows: readonly [keyof Sample, string, "Mbit/s" | "packets/s" | "µs"][] = [
    ["tcp1", "TCP, 1 stream", "Mbit/s"],
    ["tcp4", "TCP, 4 streams", "Mbit/s"],
    ["packets", "64-byte UDP received at flood", "packets/s"],
    ["ping50", "ping p50", "µs"],
    ["ping99", "ping p99", "µs"],
  ];
  for (const [key, what, unit] of rows) {
    const of = (name: string) => median((samples.get(name) ?? []).map((sample) => sample[key]));
    for (const name of samples.keys()) {
      report({ part: "packets", what: `${what}, ${name}`, value: of(name), unit });
      if (name !== "bare veth")
        report({
          part: "packets",
          what: `${what}, ${name} to bare veth`,
          value: of(name) / of("bare veth"),
          unit: "ratio",
        });
    }
  }
}

async function measure({ from, to, address }: Path, signal: AbortSignal): Promise<Sample> {
  const tcp1 = await iperf(from, to, address, [], signal);
  const tcp4 = await iperf(from, to, address, ["--parallel", "4"], signal);
  const udp = await iperf(from, to, address, ["--udp", "--bitrate", "0", "--length", "64"], signal);
  const pings = await from
    .run(["ping", "-n", "-q", "-c", "50", "-i", "0.002", address])
    .then(() => from.run(["ping", "-n", "-c", "2000", "-i", "0.002", address]));
  const times = [...pings.matchAll(/ time=([\d.]+) ms/g)].map((match) => Number(match[1]) * 1_000);
  return {
    tcp1: tcp1.bits / 1e6,
    tcp4: tcp4.bits / 1e6,
    packets: udp.packets / SECONDS,
    ping50: percentile(times, 0.5),
    ping99: percentile(times, 0.99),
  };
}

interface IperfReport {
  readonly end: {
    readonly sum?: { readonly packets: number; readonly lost_packets: number };
    readonly sum_received?: { readonly bits_per_second: number };
  };
}

async function iperf(from: Namespace, to: Namespace, address: string, args: readonly string[], signal: AbortSignal) {
  const server = to.spawn(["iperf3", "--server", "--one-off"], { stdio: "ignore" });
  try {
    await delay(200, undefined, { signal });
    const text = await from.run(["iperf3", "--client", address, "--time", String(SECONDS), "--json", ...args], {
      signal,
    });
    const { end } = JSON.parse(text) as IperfReport;
    return {
      bits: end.sum_received?.bits_per_second ?? Number.NaN,
      packets: end.sum === undefined ? Number.NaN : end.sum.packets - end.sum.lost_packets,
    };
  } finally {
    server.kill();
  }
}
