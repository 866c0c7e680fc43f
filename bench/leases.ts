import { execFile } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { Lab } from "../src/lab/lab.ts";
import { cpuSeconds, peakResidentMiB, residentMiB } from "../test/support/process-usage.ts";
import { BENCH_NETWORK, PEERS_LINK } from "./fake-peers.ts";
import type { Report } from "./figures.ts";
import { countRoutes, routesReach } from "./observe.ts";
import { PeerWriter } from "./peer-writer.ts";

const BURST = 1_000;
const AIMS: Readonly<Record<number, string>> = { 5_000: "≤ 0.4", 50_000: "≤ 3" };
const REFERENCE: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  vxlan: { 100: "0.06", 1_000: "0.11", 5_000: "0.32" },
  "host-gw": { 100: "0.06", 1_000: "0.77", 5_000: "14.7" },
};

export interface LeasesOptions {
  readonly counts: readonly number[];
  readonly store: "etcd2" | "etcd3" | "embedded";
}

/** So many leases present at the start: until the last is in the kernel, what that costs, and a burst while running. */
export async function benchLeases(
  report: Report,
  { counts, store }: LeasesOptions,
  signal: AbortSignal,
): Promise<void> {
  for (const backend of ["vxlan", "host-gw"] as const) {
    await kernelHasTidiedUp(signal);
    await using lab = await Lab.up({
      hosts: 0,
      pods: 0,
      backend,
      store,
      network: BENCH_NETWORK,
      config: { SubnetLen: 24 },
      daemons: false,
      signal,
    });
    await using writer = await PeerWriter.start(lab);
    let present = 0;
    for (const count of counts) {
      await writer.write({ type: "put", from: present, count: count - present });
      present = count;
      await measure(report, { lab, writer, backend, store, count });
    }
  }
}

/**
 * With a namespace the kernel removes its 50,000 nexthops, neighbours and routes, one by one and under the lock of all network settings:
 * for a minute nothing starts that asks for links, an etcd for one.
 */
async function kernelHasTidiedUp(signal: AbortSignal): Promise<void> {
  for (let quick = 0; quick < 3; ) {
    const asked = performance.now();
    await promisify(execFile)("ip", ["link", "show"], { signal });
    quick = performance.now() - asked < 200 ? quick + 1 : 0;
    await delay(500, undefined, { signal });
  }
}

interface Run {
  readonly lab: Lab;
  readonly writer: PeerWriter;
  readonly backend: string;
  readonly store: string;
  readonly count: number;
}

async function measure(report: Report, { lab, writer, backend, store, count }: Run): Promise<void> {
  const host = await lab.addHost();
  const { path } = host.namespace;
  await host.namespace.ip([`addr add ${PEERS_LINK} dev eth0`]);
  const before = countRoutes(path);
  const started = process.hrtime.bigint();
  await host.daemon.start();
  const programmed = await routesReach(path, (routes) => routes >= before + count);
  const { pid = 0 } = host.daemon;
  const seconds = Number(programmed - started) / 1e9;
  const cpu = cpuSeconds(pid);
  await delay(1_000);
  const what = `${count.toLocaleString("en")} leases, ${backend}, ${store}`;
  const aim = AIMS[count];
  const reference = REFERENCE[backend]?.[count];
  report({
    part: "leases",
    what: `${what}: exec to last entry`,
    value: seconds,
    unit: "s",
    ...(aim && { aim }),
    ...(reference && { reference }),
  });
  report({ part: "leases", what: `${what}: CPU`, value: cpu, unit: "s" });
  report({
    part: "memory",
    what: `${what}: RSS`,
    value: residentMiB(pid),
    unit: "MiB",
    ...(count === 10_000 && { aim: "≤ 100" }),
  });
  report({ part: "memory", what: `${what}: RSS at its peak`, value: peakResidentMiB(pid), unit: "MiB" });
  if (count === 1_000) await burst(report, { lab, writer, backend, store, count }, path, pid);
  await host.daemon.stop("SIGTERM");
}

/** A thousand more while running, and away again. */
async function burst(report: Report, { writer, backend, store, count }: Run, path: string, pid: number): Promise<void> {
  const idle = countRoutes(path);
  for (const type of ["put", "remove"] as const) {
    const cpu = cpuSeconds(pid);
    const writing = writer.write({ type, from: count, count: BURST });
    const done = routesReach(path, (routes) => (type === "put" ? routes >= idle + BURST : routes <= idle));
    const { started, ended } = await writing;
    const what = `${type === "put" ? "+" : "−"}${BURST.toLocaleString("en")} while running, ${backend}, ${store}`;
    const reference = { put: { vxlan: "0.66", "host-gw": "2.74" }, remove: { vxlan: "0.47", "host-gw": "0.66" } }[type][
      backend as "vxlan"
    ];
    report({
      part: "burst",
      what: `${what}: first write to last entry`,
      value: Number((await done) - started) / 1e9,
      unit: "s",
      reference,
    });
    report({ part: "burst", what: `${what}: the writes alone`, value: Number(ended - started) / 1e9, unit: "s" });
    report({ part: "burst", what: `${what}: CPU`, value: cpuSeconds(pid) - cpu, unit: "s" });
  }
}
