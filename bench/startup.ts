import { setTimeout as delay } from "node:timers/promises";
import { Lab } from "../src/lab/lab.ts";
import { residentMiB } from "../test/support/process-usage.ts";
import { median, type Report } from "./figures.ts";

const STARTS = 10;

/** From exec to READY=1: a first start with a new lease, then restarts; and the memory of an idle daemon. */
export async function benchStartup(report: Report, signal: AbortSignal): Promise<void> {
  for (const store of ["etcd2", "etcd3", "embedded"] as const)
    for (const backend of store === "embedded" ? ["vxlan", "host-gw", "udp"] : ["vxlan", "host-gw"]) {
      await using lab = await Lab.up({ hosts: 1, pods: 0, backend, store, daemons: false, signal });
      const [host] = lab.hosts;
      if (host === undefined) throw new Error("no host");
      const first = await host.startDaemon();
      const again: number[] = [];
      for (let start = 0; start < STARTS; start++) {
        await host.daemon.stop("SIGTERM");
        again.push(await host.startDaemon());
      }
      const what = `exec to READY, ${backend}, ${store}`;
      report({ part: "start", what: `${what}, new lease`, value: first, unit: "ms", aim: "≤ 100", reference: "15" });
      report({
        part: "start",
        what: `${what}, own lease`,
        value: median(again),
        unit: "ms",
        aim: "≤ 100",
        reference: "15",
      });
      await delay(1_000);
      report({
        part: "memory",
        what: `RSS 1 s after READY, ${backend}, ${store}`,
        value: residentMiB(host.daemon.pid ?? 0),
        unit: "MiB",
        aim: "≤ 75",
        reference: "19",
      });
    }
}
