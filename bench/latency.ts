import { parsePrefix } from "../src/ip/prefix.ts";
import { openKernel } from "../src/kernel/linux-kernel.ts";
import { Lab } from "../src/lab/lab.ts";
import { orAbort } from "../src/lib/or-abort.ts";
import { BENCH_NETWORK, PEERS_LINK } from "./fake-peers.ts";
import { percentile, type Report } from "./figures.ts";
import { PeerWriter } from "./peer-writer.ts";

const WRITES = 300;
const WARM_UP = 30;
/** No write takes so long, ms. */
const PATIENCE = 10_000;

/**
 * From the moment a lease is sent to the store until this program hears of its route from the kernel, one at a time; and until the
 * store has answered the writer, which no daemon can be quicker than by much. About 0.15 ms of the former is this program's own.
 */
export async function benchLatency(report: Report, signal: AbortSignal): Promise<void> {
  for (const store of ["etcd2", "etcd3", "embedded"] as const)
    for (const backend of ["vxlan", "host-gw"] as const) {
      await using lab = await Lab.up({
        hosts: 1,
        pods: 0,
        backend,
        store,
        network: BENCH_NETWORK,
        daemons: false,
        signal,
      });
      const [host] = lab.hosts;
      if (host === undefined) throw new Error("no host");
      await host.namespace.ip([`addr add ${PEERS_LINK} dev eth0`]);
      await host.startDaemon();
      await using writer = await PeerWriter.start(lab);
      using kernel = openKernel({ namespace: host.namespace.path });
      const routes = kernel.routeTable({ networks: [parsePrefix(BENCH_NETWORK)], adoptable: () => false });
      for (const type of ["put", "remove"] as const) {
        const times: number[] = [];
        const answers: number[] = [];
        for (let index = 0; index < WRITES; index++) {
          await routes.list({ signal }); // a table is told of the removal of rows that it knows
          const { promise: seen, resolve } = Promise.withResolvers<bigint>();
          using _watch = routes.watch?.(() => resolve(process.hrtime.bigint()));
          const { started, ended } = await writer.write({ type, from: index, count: 1 });
          answers.push(Number(ended - started) / 1e6);
          times.push(
            Number((await orAbort(seen, AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]))) - started) / 1e6,
          );
        }
        const measured = times.slice(WARM_UP);
        const answered = percentile(answers.slice(WARM_UP), 0.5);
        const what = `${type === "put" ? "write" : "delete"} to kernel, ${backend}, ${store}`;
        report({
          part: "latency",
          what: `${what}, p50`,
          value: percentile(measured, 0.5),
          unit: "ms",
          aim: "≤ 1.5",
          reference: "0.7",
        });
        report({ part: "latency", what: `${what}, the store's answer alone, p50`, value: answered, unit: "ms" });
        report({
          part: "latency",
          what: `${what}, p99`,
          value: percentile(measured, 0.99),
          unit: "ms",
          reference: "1.7",
        });
      }
    }
}
