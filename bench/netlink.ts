/**
 * How much processor time the kernel tables take for many peers of a vxlan device, in a network namespace of its own. Needs root.
 * Usage: node bench/netlink.ts [--json] [PEERS…]
 */
import { execFileSync } from "node:child_process";
import type { Table } from "../src/dataplane/table.ts";
import { parseAddress } from "../src/ip/address.ts";
import { decodeMacAddress, type MacAddress, parseMacAddress } from "../src/ip/mac-address.ts";
import { parsePrefix } from "../src/ip/prefix.ts";
import type { Kernel } from "../src/kernel/kernel.ts";
import { openKernel } from "../src/kernel/linux-kernel.ts";

const NAMESPACE = `fk-bench-${process.pid}`;
const options = { signal: new AbortController().signal };
const asJson = process.argv.includes("--json");
const counts = process.argv
  .slice(2)
  .filter((argument) => /^\d+$/.test(argument))
  .map(Number);

interface Figure {
  readonly peers: number;
  readonly table: string;
  readonly putMs: number;
  readonly listMs: number;
  readonly removeMs: number;
}

function ip(...words: readonly string[]): void {
  execFileSync("ip", words);
}

function macOf(peer: number): MacAddress {
  return decodeMacAddress(Uint8Array.of(2, 0, peer >>> 24, peer >>> 16, peer >>> 8, peer));
}

/** Milliseconds of this thread's processor time so far, the kernel's included: on a quiet machine what a clock shows, on a busy one still comparable. */
function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

async function measure<Row>(peers: number, table: Table<Row>, rows: readonly Row[]): Promise<Figure> {
  const start = cpuMs();
  const failures = await table.apply({ puts: rows, removals: [] }, options);
  const put = cpuMs();
  const listed = await table.list(options);
  const end = cpuMs();
  if (failures[0] !== undefined) throw failures[0].error;
  if (listed.length < rows.length) throw new Error(`${table.name}: ${listed.length} of ${rows.length} rows`);
  return { peers, table: table.name, putMs: put - start, listMs: end - put, removeMs: 0 };
}

async function remove<Row>(table: Table<Row>, rows: readonly Row[]): Promise<number> {
  const start = cpuMs();
  const failures = await table.apply({ puts: [], removals: rows }, options);
  if (failures[0] !== undefined) throw failures[0].error;
  return cpuMs() - start;
}

async function run(kernel: Kernel, peers: number): Promise<readonly Figure[]> {
  const links = kernel.linkTable({ owned: ["flannel.1"] });
  const device = {
    kind: "vxlan",
    name: "flannel.1",
    mac: parseMacAddress("02:00:00:00:00:01"),
    mtu: 1450,
    vni: 1,
    local: parseAddress("192.0.2.1"),
    lower: "eth0",
    port: 0,
    gbp: false,
    learning: false,
  } as const;
  await links.apply({ puts: [device], removals: [] }, options);
  const network = parsePrefix("10.0.0.0/8");
  const subnets = Array.from({ length: peers }, (_, peer) => ({
    address: { family: 4 as const, value: network.address.value + BigInt((peer + 1) * 64) },
    length: 26,
  }));
  const link = "flannel.1";
  const routes = kernel.routeTable({ networks: [network], adoptable: () => false });
  using _routes = routes.watch?.(() => {});
  const routeRows = subnets.map((destination) => ({ destination, link, gateway: destination.address, onlink: true }));
  const neighbors = kernel.neighborTable({ link, networks: [network] });
  const neighborRows = subnets.map(({ address }, peer) => ({ link, destination: address, mac: macOf(peer + 2) }));
  const fdb = kernel.fdbTable({ link });
  const underlay = parseAddress("172.16.0.0").value;
  const fdbRows = subnets.map((_, peer) => ({
    link,
    mac: macOf(peer + 2),
    destination: { family: 4 as const, value: underlay + BigInt(peer + 1) },
  }));
  const figures = [
    await measure(peers, neighbors, neighborRows),
    await measure(peers, fdb, fdbRows),
    await measure(peers, routes, routeRows),
  ];
  const removals = [await remove(neighbors, neighborRows), await remove(fdb, fdbRows), await remove(routes, routeRows)];
  await links.apply({ puts: [], removals: [device] }, options);
  return figures.map((figure, index) => ({ ...figure, removeMs: removals[index] ?? 0 }));
}

ip("netns", "add", NAMESPACE);
try {
  ip("-n", NAMESPACE, "link", "set", "lo", "up");
  ip("-n", NAMESPACE, "link", "add", "eth0", "type", "bridge");
  ip("-n", NAMESPACE, "link", "set", "eth0", "up");
  ip("-n", NAMESPACE, "addr", "add", "192.0.2.1/24", "dev", "eth0");
  using kernel = openKernel({ namespace: `/run/netns/${NAMESPACE}` });
  const figures: Figure[] = [];
  for (const peers of counts.length > 0 ? counts : [1000, 5000, 20_000, 60_000])
    figures.push(...(await run(kernel, peers)));
  if (asJson) {
    console.log(JSON.stringify(figures));
  } else {
    console.log("  peers  table                    put ms   list ms  remove ms   put µs/row");
    for (const { peers, table, putMs, listMs, removeMs } of figures)
      console.log(
        `${String(peers).padStart(7)}  ${table.padEnd(20)} ${[putMs, listMs, removeMs].map((ms) => ms.toFixed(1).padStart(10)).join("")} ${((putMs / peers) * 1000).toFixed(1).padStart(12)}`,
      );
  }
} finally {
  ip("netns", "del", NAMESPACE);
}
