import { setTimeout as delay } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import type { Table } from "../../src/dataplane/table.ts";
import { decodeMacAddress } from "../../src/ip/mac-address.ts";
import {
  address,
  FLANNEL_1,
  listed,
  mac,
  options,
  prefix,
  put,
  remove,
} from "../../src/kernel/conformance/kernel-harness.ts";
import { openKernel } from "../../src/kernel/linux-kernel.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { ceiling } from "../e2e/hosts.ts";
import { type LinuxFixture, openLinux } from "./linux-harness.ts";

// Needs root: network namespaces.

const NETWORK = prefix("10.0.0.0/8");
const link = "flannel.1";

async function open(): Promise<LinuxFixture> {
  const fixture = openLinux();
  onTestFinished(() => fixture[Symbol.dispose]());
  await put(fixture.kernel.linkTable({ owned: [link] }), FLANNEL_1);
  return fixture;
}

/** Counts a table's calls until the test ends. */
function count<Row>(table: Table<Row>): { calls: number } {
  const counter = { calls: 0 };
  const watch = table.watch?.(() => counter.calls++);
  onTestFinished(() => watch?.[Symbol.dispose]());
  return counter;
}

async function untilCalled(counter: { readonly calls: number }, within = 20_000): Promise<void> {
  await waitUntil(() => counter.calls > 0, { ...options, within, every: 1, what: "a call" });
}

function macOf(peer: number) {
  return decodeMacAddress(Uint8Array.of(2, 0, 0, 0, peer >>> 8, peer));
}

test("watch() calls within 100 ms after a row was removed by hand", async () => {
  const { kernel, others } = await open();
  const routes = kernel.routeTable({ networks: [NETWORK], adoptable: () => false });
  const neighbors = kernel.neighborTable({ link, networks: [NETWORK] });
  const fdb = kernel.fdbTable({ link });
  const gateway = address("10.5.2.0");
  const harms: readonly (readonly [{ calls: number }, () => void])[] = [
    [count(routes), () => others.deleteRoute(prefix("10.5.2.0/24"))],
    [count(neighbors), () => others.deleteNeighbor(link, gateway)],
    [count(fdb), () => others.deleteFdb(link, macOf(2))],
  ];
  await put(neighbors, { link, destination: gateway, mac: macOf(2) });
  await put(fdb, { link, destination: address("192.0.2.2"), mac: macOf(2) });
  await put(routes, { link, destination: prefix("10.5.2.0/24"), gateway, onlink: true });
  for (const [counter, harm] of harms) {
    await delay(50);
    counter.calls = 0;
    harm();
    await untilCalled(counter, ceiling(100));
  }
});

test("watch() of routes calls when they went with an address that we ourselves replaced", async () => {
  const { kernel } = await open();
  const routes = kernel.routeTable({ networks: [NETWORK], adoptable: () => false });
  const addresses = kernel.addressTable({ link });
  const row = (text: string) => ({ link, address: prefix(text), hasRoute: false as const });
  const counter = count(routes);
  await put(addresses, row("10.5.1.0/16"));
  const route = { destination: prefix("10.5.0.0/16"), link, onlink: false, scope: "link" as const };
  await put(routes, route);
  await delay(50);
  counter.calls = 0;
  await put(addresses, row("10.5.2.0/16")); // a secondary, which the kernel removes with the first
  await remove(addresses, row("10.5.1.0/16"));
  expect((await addresses.list(options)).map((each) => addresses.format(each))).toEqual(["10.5.2.0/16 dev flannel.1"]);
  await untilCalled(counter);
  await put(routes, route);
  expect((await routes.list(options)).map((each) => routes.format(each))).toEqual(["10.5.0.0/16 dev flannel.1"]);
});

test("apply() of thousands of rows of every kind calls no watcher, and each is there", async () => {
  const { kernel, namespace } = await open();
  const routes = kernel.routeTable({ networks: [NETWORK], adoptable: () => false });
  const neighbors = kernel.neighborTable({ link, networks: [NETWORK] });
  const fdb = kernel.fdbTable({ link });
  const counters = [count(routes), count(neighbors), count(fdb)];
  const peers = Array.from({ length: 3000 }, (_, peer) => peer + 2);
  const subnetOf = (peer: number) => ({ family: 4 as const, value: NETWORK.address.value + BigInt(peer * 256) });
  const rows = {
    neighbors: peers.map((peer) => ({ link, destination: subnetOf(peer), mac: macOf(peer) })),
    fdb: peers.map((peer) => ({ link, destination: address("192.0.2.2"), mac: macOf(peer) })),
    routes: peers.map((peer) => ({
      link,
      destination: { address: subnetOf(peer), length: 24 },
      gateway: subnetOf(peer),
      onlink: true,
    })),
  };
  await put(neighbors, ...rows.neighbors);
  await put(fdb, ...rows.fdb);
  await put(routes, ...rows.routes);
  expect(namespace.json(`neigh show dev ${link} nud permanent`)).toHaveLength(3000);
  expect(namespace.json("route show proto 241")).toHaveLength(3000);
  expect(namespace.json("nexthop show")).toHaveLength(3000);
  await remove(routes, ...rows.routes);
  await remove(fdb, ...rows.fdb);
  await remove(neighbors, ...rows.neighbors);
  await delay(200);
  expect(counters.map(({ calls }) => calls)).toEqual([0, 0, 0]);
  expect(namespace.json("nexthop show")).toEqual([]);
  expect(await listed(fdb)).toEqual([]);
});

test("apply() in one namespace tells another daemon's watchers, whose rows it touched", async () => {
  const fixture = await open();
  const mine = fixture.kernel.neighborTable({ link, networks: [NETWORK] });
  await put(mine, { link, destination: address("10.5.2.0"), mac: macOf(2) });
  await mine.list(options);
  const counter = count(mine);
  using other = openKernel({ namespace: fixture.namespace.path });
  await put(other.neighborTable({ link, networks: [NETWORK] }), {
    link,
    destination: address("10.5.2.0"),
    mac: macOf(9),
  });
  await untilCalled(counter);
  await delay(50);
  expect(counter.calls).toBe(1);
});

test("watch() does not call for neighbours on other devices, nor for unfinished ones on its own", async () => {
  const { kernel, namespace } = await open();
  const neighbors = kernel.neighborTable({ link, networks: [NETWORK] });
  await put(neighbors, { link, destination: address("10.5.2.0"), mac: macOf(2) });
  await neighbors.list(options);
  const counter = count(neighbors);
  namespace.ip(
    ...Array.from({ length: 200 }, (_, peer) => `neigh replace 192.0.2.${peer + 2} lladdr 02:00:00:00:00:02 dev eth0`),
    ...Array.from(
      { length: 200 },
      (_, peer) => `neigh replace 10.5.3.${peer + 2} lladdr 02:00:00:00:00:02 dev ${link} nud stale`,
    ),
  );
  await delay(100);
  expect(counter.calls).toBe(0);
});

test("watch() calls every table after notifications were lost", async () => {
  const { kernel, namespace } = await open();
  const tables = [
    kernel.linkTable({ owned: [link] }),
    kernel.addressTable({ link }),
    kernel.neighborTable({ link, networks: [NETWORK] }),
    kernel.fdbTable({ link }),
    kernel.routeTable({ networks: [NETWORK], adoptable: () => false }),
    kernel.sysctlTable({ keys: [] }),
  ];
  for (const table of tables) await table.list(options);
  const counters = tables.map((table) => count<never>(table as unknown as Table<never>));
  // nobody reads meanwhile: this thread waits for ip
  namespace.ip(
    ...Array.from(
      { length: 30_000 },
      (_, count) =>
        `neigh replace 198.18.${count % 200}.${(count >> 8) % 250} lladdr ${mac("02:00:00:00:00:01").slice(0, 15)}${count % 2 ? "aa" : "bb"} dev eth0`,
    ),
  );
  for (const counter of counters) await untilCalled(counter);
});

test("watchLinks() tells of links and addresses that others change", async () => {
  const { kernel, others } = await open();
  const counter = { calls: 0 };
  using _watch = kernel.watchLinks(() => counter.calls++);
  await delay(100);
  counter.calls = 0;
  others.addAddress("eth0", prefix("192.0.2.200/24"));
  await untilCalled(counter);
});

test("watch() calls when the link of IPv4 routes goes down, of which the kernel says nothing itself", async () => {
  const { kernel, namespace, others } = await open();
  namespace.run("sysctl", "-qw", `net.ipv6.conf.all.disable_ipv6=1`);
  const routes = kernel.routeTable({ networks: [NETWORK], adoptable: () => false });
  const gateway = address("10.5.2.0");
  const row = { link, destination: prefix("10.5.2.0/24"), gateway, onlink: true };
  const counter = count(routes);
  await put(routes, row);
  await delay(100);
  expect(counter.calls).toBe(0);
  others.setLinkDown(link);
  await untilCalled(counter);
  expect(await listed(routes)).toEqual([]);
});
