import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { formatPrefix, networkOf } from "../src/ip/prefix.ts";
import { Lab } from "../src/lab/lab.ts";
import type { LabHost } from "../src/lab/lab-host.ts";
import { run } from "../src/lab/program.ts";
import { flannelCni, root } from "../test/cli/program.ts";
import { callPlugin, REAL_PLUGINS } from "../test/cni/plugin.ts";
import { manifestConfigList, Runtime } from "../test/cni/runtime.ts";
import { median, type Report } from "./figures.ts";

const ROUNDS = 25;
const AT_ONCE = 50;

/** What a pod's start waits for: the plugin from exec to its end, beside Node alone and the delegate alone. */
export async function benchCni(report: Report, signal: AbortSignal): Promise<void> {
  await using lab = await Lab.up({ hosts: 1, pods: 0, signal });
  const [host] = lab.hosts;
  if (host === undefined) throw new Error("no host");
  const tell = (what: string, values: readonly number[], aim?: string) =>
    report({ part: "cni", what, value: median(values), unit: "ms", ...(aim !== undefined && { aim }) });

  const node = join(root, "node_modules", `node-linux-${process.arch}`, "bin/node");
  tell("Node alone: an empty program", await times(() => run([node, "-e", ""], { signal })));
  tell("VERSION", await times(() => callPlugin(flannelCni, { command: "VERSION" })));

  const list = manifestConfigList(host, { ipMasq: false });
  const runtime = new Runtime(lab, host, { ...list, plugins: list.plugins.slice(0, 1) });
  const adds: number[] = [];
  const deletes: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const id = `p${round}`;
    await runtime.makeNamespace(id);
    adds.push(await timeOf(() => runtime.add(id)));
    deletes.push(await timeOf(() => runtime.del(id)));
  }
  tell("ADD, with bridge and host-local", adds, "≤ 80");
  tell("DEL", deletes, "≤ 80");

  const alone = await bridgeAlone(lab, host, ROUNDS);
  tell("the same ADD by bridge and host-local alone", alone.adds);
  tell("the same DEL by them alone", alone.deletes);

  const ids = Array.from({ length: AT_ONCE }, (_, index) => `many${index}`);
  for (const id of ids) await runtime.makeNamespace(id);
  tell(`${AT_ONCE} ADDs at once, until the last is done`, [
    await timeOf(() => Promise.all(ids.map((id) => runtime.add(id)))),
  ]);
}

/** The delegate by itself, with the config that flannel would give it. */
async function bridgeAlone(lab: Lab, host: LabHost, rounds: number) {
  const { subnet } = host.subnetEnv();
  const config = {
    type: "bridge",
    isGateway: true,
    isDefaultGateway: true,
    hairpinMode: true,
    ipMasq: false,
    mtu: host.subnetEnv().mtu,
    ipam: {
      type: "host-local",
      dataDir: join(host.directory, "ipam"),
      ranges: [[{ subnet: formatPrefix(networkOf(subnet.address, subnet.length)) }]],
      routes: [{ dst: "10.5.0.0/16" }],
    },
  };
  const runtime = new Runtime(
    lab,
    host,
    { cniVersion: "1.0.0", name: "cbr0", plugins: [config] },
    join(REAL_PLUGINS, "bridge"),
  );
  const adds: number[] = [];
  const deletes: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const id = `alone${round}`;
    await runtime.makeNamespace(id);
    adds.push(await timeOf(() => runtime.add(id)));
    deletes.push(await timeOf(() => runtime.del(id)));
  }
  return { adds, deletes };
}

async function times(work: () => Promise<unknown>): Promise<readonly number[]> {
  const values: number[] = [];
  for (let round = 0; round < ROUNDS; round++) values.push(await timeOf(work));
  return values;
}

async function timeOf(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
