import { setTimeout as delay } from "node:timers/promises";
import { formatPrefix } from "../src/ip/prefix.ts";
import { Cluster } from "../test/kube/cluster.ts";
import { cpuSeconds, peakResidentMiB, residentMiB } from "../test/support/process-usage.ts";
import { BENCH_NETWORK, fakePeer, fakeValue, PEERS_LINK } from "./fake-peers.ts";
import type { Report } from "./figures.ts";
import { countRoutes, routesReach } from "./observe.ts";

const NODES = 5_000;
/** Nodes whose annotations change at once, of those that are there. */
const BURST = 100;

/** A node of a large cluster starts: until its subnet stands, until the last peer is in the kernel, and what that costs. */
export async function benchKubernetes(report: Report, signal: AbortSignal): Promise<void> {
  for (const backend of ["vxlan", "host-gw"]) {
    await using cluster = await Cluster.up({ hosts: 0, backend, network: BENCH_NETWORK, signal });
    const { lab, api } = cluster;
    const peer = (index: number) => {
      const { PublicIP, BackendData = null } = JSON.parse(fakeValue(index, backend, "later")) as Record<string, string>;
      const data = { "backend-type": backend, "backend-data": JSON.stringify(BackendData) };
      return [`node-${index}`, formatPrefix(fakePeer(index).subnet), PublicIP, data] as const;
    };
    for (let from = 0; from < NODES; from += 500)
      await api.call(
        "addCrowd",
        Array.from({ length: 500 }, (_, index) => peer(from + index)),
      );
    const host = await lab.addHost();
    cluster.setUp(host);
    await api.call("addNode", host.name, ["10.5.2.0/24"]);
    await host.namespace.ip([`addr add ${PEERS_LINK} dev eth0`]);
    const { path } = host.namespace;
    const before = countRoutes(path);
    const served = cpuSeconds(api.pid);
    const started = process.hrtime.bigint();
    await host.daemon.start();
    const { pid = 0 } = host.daemon;
    const [{ ready, cpuAtReady }, programmed] = await Promise.all([
      host.daemon.ready({ within: 60_000 }).then((ready) => ({ ready, cpuAtReady: cpuSeconds(pid) })),
      routesReach(path, (routes) => routes >= before + NODES),
    ]);
    const [cpu, serving] = [cpuSeconds(pid), cpuSeconds(api.pid) - served];
    await delay(1_000);
    const what = `${NODES.toLocaleString("en")} nodes, ${backend}`;
    const figure = (title: string, value: number, unit: "s" | "MiB", aim?: string) =>
      report({ part: "kubernetes", what: `${what}: ${title}`, value, unit, ...(aim !== undefined && { aim }) });
    figure("exec to READY", ready / 1000, "s", "≤ 2");
    figure("exec to last entry", Number(programmed - started) / 1e9, "s", "≤ 2");
    figure("CPU until READY", cpuAtReady, "s");
    figure("CPU", cpu, "s");
    figure("CPU of the API server meanwhile", serving, "s");
    figure("RSS", residentMiB(pid), "MiB", "≤ 160");
    figure("RSS at its peak", peakResidentMiB(pid), "MiB");
    const idle = countRoutes(path);
    const changed = process.hrtime.bigint();
    for (let index = 0; index < BURST; index++) await api.call("removeNode", `node-${index}`);
    const gone = await routesReach(path, (routes) => routes <= idle - BURST);
    figure(`${BURST} nodes deleted, first call to last entry`, Number(gone - changed) / 1e9, "s", "≤ 1");
  }
}
