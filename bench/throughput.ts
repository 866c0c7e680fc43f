import { setTimeout as delay } from "node:timers/promises";
import { formatAddress } from "../src/ip/address.ts";
import { VXLAN_DEFAULT_PORT } from "../src/kernel/kernel.ts";
import { Lab, type LabOptions } from "../src/lab/lab.ts";
import type { LabHost } from "../src/lab/lab-host.ts";
import type { Namespace } from "../src/lab/namespace.ts";
import { cpuSeconds } from "../test/support/process-usage.ts";
import { saysOnce } from "../test/support/tcp.ts";
import { floodDuring } from "../test/udp/flood.ts";
import { BENCH_NETWORK, fakePeer } from "./fake-peers.ts";
import { median, percentile, type Report } from "./figures.ts";
import { PeerWriter } from "./peer-writer.ts";

const UDP_PORT = 8285;
/** Nobody of flannel's reads it. */
const UNUSED_PORT = 9;
/** Peers of the large table. */
const MANY = 10_000;

export interface ThroughputOptions {
  readonly rounds: number;
  /** Of each measurement. */
  readonly seconds: number;
}

/** A way from one pod, or host, to another. */
interface Path {
  readonly name: string;
  readonly from: Namespace;
  readonly to: Namespace;
  readonly address: string;
  /** Whose processor time is counted. */
  readonly daemons: readonly number[];
}

interface Sample {
  readonly tcp1: number;
  readonly tcp4: number;
  /** Processor seconds of both daemons for a GB by TCP. */
  readonly cpu: number;
  readonly packets: number;
  readonly ping50: number;
  readonly ping99: number;
}

type Samples = Map<string, Partial<Sample>[]>;

const PLAIN = "udp, one packet per call";
const CROWDED = `udp, ${MANY} peers`;
const ALONE = `udp, in turn with ${MANY} peers`;
/** They differ by less than the machine does within a minute: short measurements right after each other, each first as often as the other. */
const TURNS = { count: 6, seconds: 2 };
/** While an address that is no peer's sends the receiving host all it can: to the port of its flanneld, or to one that nobody reads. */
const FLOODED = "udp, flooded by a stranger";
const BESIDE = "udp, a stranger floods another port";
const VXLAN_FLOODED = "vxlan, flooded by a stranger";
const VXLAN_BESIDE = "vxlan, a stranger floods another port";
/** Where the link carries datagrams no longer than its MTU, as a network card without segmentation does. */
const REAL = "real datagrams";

const UNITS: Readonly<Record<keyof Sample, readonly [string, "Mbit/s" | "packets/s" | "µs" | "s/GB"]>> = {
  tcp1: ["TCP, 1 stream", "Mbit/s"],
  tcp4: ["TCP, 4 streams", "Mbit/s"],
  cpu: ["processor time of both daemons, TCP", "s/GB"],
  packets: ["64-byte UDP received at flood", "packets/s"],
  ping50: ["ping p50", "µs"],
  ping99: ["ping p99", "µs"],
};

/** What is compared: a figure of one path over that of another, with the aim that issue and documents name. */
const RATIOS: readonly (readonly [keyof Sample, of: string, to: string, aim?: string])[] = [
  ...(["tcp1", "tcp4", "packets", "ping50"] as const).flatMap((key) =>
    ["vxlan", "host-gw", "udp"].map((name) => [key, name, "bare veth"] as const),
  ),
  ["tcp1", "udp", "vxlan", "≥ 0.6, 0.85"],
  ["tcp4", "udp", "vxlan", "≥ 0.6, 0.85"],
  ["packets", "udp", "vxlan", "≥ 0.75, 1"],
  ["tcp1", `udp, ${REAL}`, `bare veth, ${REAL}`, "≥ 0.30, 0.45"],
  ["tcp4", `udp, ${REAL}`, `bare veth, ${REAL}`, "≥ 0.30, 0.45"],
  ["tcp1", "udp", PLAIN, "≥ 10"],
  ["tcp1", `udp, ${REAL}`, `${PLAIN}, ${REAL}`, "≥ 5"],
  ["ping50", "udp", PLAIN, "≤ 1, 0.5"],
  ["ping99", "udp", PLAIN, "≤ 1, 0.5"],
  ["tcp1", FLOODED, BESIDE, "≥ 0.9"],
  ["tcp1", VXLAN_FLOODED, VXLAN_BESIDE, "≥ 0.9"],
  ["tcp1", CROWDED, ALONE, "≥ 0.97"],
  ["tcp4", CROWDED, ALONE, "≥ 0.97"],
  ["packets", CROWDED, ALONE, "≥ 0.97"],
  ["ping50", CROWDED, ALONE, "≤ 1.03"],
];

/** Pod to pod by each backend beside bare veth between the same kind of hosts, in turn, so that the machine's moods hit all alike. */
export async function benchThroughput(report: Report, options: ThroughputOptions, signal: AbortSignal): Promise<void> {
  await using labs = new AsyncDisposableStack();
  const up = async (backend: LabOptions["backend"], more: Partial<LabOptions> = {}) =>
    labs.use(await Lab.up({ hosts: 2, ...(backend !== undefined && { backend }), signal, ...more }));
  const vxlan = await up("vxlan");
  const udp = await up("udp");
  const plain = await up({ Type: "udp", Offload: false });
  const paths = [
    between("bare veth", vxlan, false),
    between("vxlan", vxlan),
    between("host-gw", await up("host-gw")),
    between("udp", udp),
    between(PLAIN, plain),
  ];
  const crowds = [between(ALONE, udp), between(CROWDED, await crowded(labs, signal))];
  const realPaths = [between("bare veth", vxlan, false), between("udp", udp), between(PLAIN, plain)];
  const floods = [
    [FLOODED, udp, { port: UDP_PORT }],
    [BESIDE, udp, { port: UNUSED_PORT }],
    [VXLAN_FLOODED, vxlan, { port: VXLAN_DEFAULT_PORT, vni: 1 }],
    [VXLAN_BESIDE, vxlan, { port: UNUSED_PORT, vni: 1 }],
  ] as const;
  const samples: Samples = new Map();
  for (let round = 0; round < options.rounds; round++) {
    for (const path of paths) add(samples, path.name, await measure(path, options, signal));
    for (const [name, lab, target] of floods) add(samples, name, await whileFlooded(lab, target, options, signal));
    await segmentation("off", realPaths);
    for (const path of realPaths) add(samples, `${path.name}, ${REAL}`, await measureTcp(path, options, signal));
    await segmentation("on", realPaths);
  }
  for (let turn = 0; turn < TURNS.count; turn++)
    for (const path of turn % 2 === 0 ? crowds : crowds.toReversed())
      add(samples, path.name, await measure(path, { ...options, seconds: TURNS.seconds }, signal));
  tell(report, samples);
}

function add(samples: Samples, name: string, sample: Partial<Sample>): void {
  samples.set(name, [...(samples.get(name) ?? []), sample]);
}

function tell(report: Report, samples: Samples): void {
  const of = (key: keyof Sample, name: string) =>
    median((samples.get(name) ?? []).flatMap((sample) => (sample[key] === undefined ? [] : [sample[key]])));
  for (const [key, [what, unit]] of Object.entries(UNITS) as [keyof Sample, (typeof UNITS)[keyof Sample]][])
    for (const name of samples.keys()) {
      const value = of(key, name);
      const aim = key === "cpu" && name === "udp" ? { aim: "≤ 1.2, 0.8" } : {};
      if (!Number.isNaN(value)) report({ part: "packets", what: `${what}, ${name}`, value, unit, ...aim });
    }
  for (const [key, name, base, aim] of RATIOS)
    report({
      part: "packets",
      what: `${UNITS[key][0]}, ${name} to ${base}`,
      value: of(key, name) / of(key, base),
      unit: "ratio",
      ...(aim !== undefined && { aim }),
    });
}

/** TCP to a host that a stranger, the switch itself, floods meanwhile. */
async function whileFlooded(
  lab: Lab,
  target: { readonly port: number; readonly vni?: number },
  options: ThroughputOptions,
  signal: AbortSignal,
) {
  const [, right] = lab.hosts;
  if (right === undefined) throw new Error("two hosts are needed");
  const program = new URL("./sink-program.ts", import.meta.url).pathname;
  const sink =
    target.port === UNUSED_PORT
      ? right.spawn([process.execPath, program, String(UNUSED_PORT)], { stdio: ["ignore", "pipe", "inherit"] })
      : undefined;
  try {
    if (sink !== undefined) await saysOnce(sink.stdout, "bound", { signal });
    const flood = { to: right.address, ...target, rate: 0, signal };
    const path = between("", lab);
    const { result } = await floodDuring(lab.switch.namespace, flood, () => iperf(path, options, [], signal));
    return { tcp1: result.bits / 1e6 };
  } finally {
    sink?.kill("SIGKILL");
  }
}

/** From the first host's pod to the second's; or from host to host. */
function between(name: string, lab: Lab, throughPods = true): Path {
  const [left, right] = lab.hosts.map((host) => (throughPods ? host.pods[0] : host));
  if (left === undefined || right === undefined) throw new Error("two hosts with a pod each are needed");
  const daemons = throughPods ? lab.hosts.flatMap(({ daemon }) => daemon.pid ?? []) : [];
  return { name, from: left.namespace, to: right.namespace, address: right.address, daemons };
}

async function crowded(labs: AsyncDisposableStack, signal: AbortSignal): Promise<Lab> {
  const network = { network: BENCH_NETWORK, config: { SubnetLen: 24, SubnetMin: "10.9.0.0", SubnetMax: "10.9.255.0" } };
  const lab = labs.use(await Lab.up({ hosts: 2, backend: "udp", ...network, signal }));
  await using writer = await PeerWriter.start(lab);
  await writer.write({ type: "put", from: 0, count: MANY });
  for (const host of lab.hosts) await knowsPeers(host, signal);
  return lab;
}

/** Until the host has a route to the last peer: it answers for subnets that nobody has. */
async function knowsPeers({ namespace }: LabHost, signal: AbortSignal): Promise<void> {
  const { address } = fakePeer(MANY - 1).subnet;
  for (;;) {
    const { stdout } = await namespace.exec(["ping", "-n", "-c", "1", "-W", "1", formatAddress(address)]);
    if (!stdout.includes("Unreachable")) return;
    await delay(100, undefined, { signal });
  }
}

/** Whether the hosts' links, and what hangs on the switch, hand over packets longer than their MTU. */
async function segmentation(state: "on" | "off", paths: readonly Path[]): Promise<void> {
  for (const { from, to } of paths)
    for (const name of [from.name, to.name]) {
      const host = name.replace(/-p\d+$/, "");
      const features = ["tx-udp-segmentation", state, "tso", state, "gso", state];
      await from.run(["ip", "netns", "exec", host, "ethtool", "-K", "eth0", ...features]);
    }
}

async function measure(path: Path, options: ThroughputOptions, signal: AbortSignal): Promise<Sample> {
  const tcp = await measureTcp(path, options, signal);
  const udp = await iperf(path, options, ["--udp", "--bitrate", "0", "--length", "64"], signal);
  const { from, address } = path;
  await from.run(["ping", "-n", "-q", "-c", "50", "-i", "0.002", address]);
  const pings = await from.run(["ping", "-n", "-c", "2000", "-i", "0.002", address]);
  const times = [...pings.matchAll(/ time=([\d.]+) ms/g)].map((match) => Number(match[1]) * 1_000);
  return {
    ...tcp,
    packets: udp.packets / options.seconds,
    ping50: percentile(times, 0.5),
    ping99: percentile(times, 0.99),
  };
}

async function measureTcp(
  path: Path,
  options: ThroughputOptions,
  signal: AbortSignal,
): Promise<Pick<Sample, "tcp1" | "tcp4" | "cpu">> {
  const before = path.daemons.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  const one = await iperf(path, options, [], signal);
  const used = path.daemons.reduce((sum, pid) => sum + cpuSeconds(pid), 0) - before;
  const four = await iperf(path, options, ["--parallel", "4"], signal);
  return { tcp1: one.bits / 1e6, tcp4: four.bits / 1e6, cpu: used / (one.bytes / 1e9) };
}

interface IperfReport {
  readonly end: {
    readonly sum?: { readonly packets: number; readonly lost_packets: number };
    readonly sum_received?: { readonly bits_per_second: number; readonly bytes: number };
  };
}

async function iperf(
  { from, to, address }: Path,
  { seconds }: ThroughputOptions,
  args: readonly string[],
  signal: AbortSignal,
) {
  const server = to.spawn(["iperf3", "--server", "--one-off"], { stdio: "ignore" });
  try {
    await delay(200, undefined, { signal });
    const argv = ["iperf3", "--client", address, "--time", String(seconds), "--json", ...args];
    const { end } = JSON.parse(await from.run(argv, { signal })) as IperfReport;
    return {
      bits: end.sum_received?.bits_per_second ?? Number.NaN,
      bytes: end.sum_received?.bytes ?? Number.NaN,
      packets: end.sum === undefined ? Number.NaN : end.sum.packets - end.sum.lost_packets,
    };
  } finally {
    server.kill();
  }
}
