import { expect, onTestFinished, test } from "vitest";
import {
  address,
  FLANNEL_1,
  listed,
  options,
  prefix,
  put,
  remove,
} from "../../src/kernel/conformance/kernel-harness.ts";
import type { Kernel, RouteRow } from "../../src/kernel/kernel.ts";
import { openKernel } from "../../src/kernel/linux-kernel.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { type LinuxFixture, openLinux } from "./linux-harness.ts";

// Needs root: network namespaces.

async function open(): Promise<LinuxFixture> {
  const fixture = openLinux();
  onTestFinished(() => fixture[Symbol.dispose]());
  await put(fixture.kernel.linkTable({ owned: ["flannel.1"] }), FLANNEL_1);
  return fixture;
}

function routesOf(kernel: Kernel) {
  return kernel.routeTable({ networks: [prefix("10.5.0.0/16")], adoptable: () => false });
}

function via(subnet: string, gateway: string, link = "eth0"): RouteRow {
  return { destination: prefix(subnet), link, gateway: address(gateway), onlink: link !== "eth0" };
}

/** Gateways of the nexthop objects that are there. */
function gateways({ namespace }: LinuxFixture): readonly unknown[] {
  return namespace.json("nexthop show").map((nexthop) => nexthop["gateway"]);
}

/** A daemon that starts again: another connection to the same namespace. */
function restart({ namespace }: LinuxFixture): Kernel {
  const kernel = openKernel({ namespace: namespace.path });
  onTestFinished(() => kernel[Symbol.dispose]());
  return kernel;
}

test("routeTable() shares one nexthop object between routes through one gateway, and deletes it after the last", async () => {
  const fixture = await open();
  const routes = routesOf(fixture.kernel);
  const [first, second] = [via("10.5.2.0/24", "192.0.2.2"), via("10.5.3.0/24", "192.0.2.2")];
  await put(routes, first, second);
  const ids = fixture.namespace.json("route show proto 241").map((route) => route["nhid"]);
  expect(new Set(ids).size).toBe(1);
  expect(ids).toHaveLength(2);
  await remove(routes, first);
  expect(gateways(fixture)).toEqual(["192.0.2.2"]);
  await remove(routes, second);
  expect(gateways(fixture)).toEqual([]);
});

test("routeTable() moves a route to another gateway and deletes the former nexthop", async () => {
  const fixture = await open();
  await put(routesOf(fixture.kernel), via("10.5.2.0/24", "192.0.2.2"));
  await put(routesOf(fixture.kernel), via("10.5.2.0/24", "192.0.2.3"));
  expect(gateways(fixture)).toEqual(["192.0.2.3"]);
  expect(fixture.namespace.json("route show proto 241")).toMatchObject([{ dst: "10.5.2.0/24", gateway: "192.0.2.3" }]);
});

test("routeTable() finds its nexthops again after a restart, shares and deletes them", async () => {
  const fixture = await open();
  await put(routesOf(fixture.kernel), via("10.5.2.0/24", "192.0.2.2"));
  const again = routesOf(restart(fixture));
  await again.list(options);
  await put(again, via("10.5.3.0/24", "192.0.2.2"));
  expect(gateways(fixture)).toEqual(["192.0.2.2"]);
  await remove(again, via("10.5.2.0/24", "192.0.2.2"), via("10.5.3.0/24", "192.0.2.2"));
  expect(gateways(fixture)).toEqual([]);
});

test("routeTable() prunes what a crash left without routes, and not what anybody's route or group goes through", async () => {
  const fixture = await open();
  fixture.namespace.ip(
    "nexthop add id 241000005 via 10.5.9.0 dev flannel.1 onlink proto 241",
    "nexthop add id 241000006 via 10.5.8.0 dev flannel.1 onlink proto 241",
    "nexthop add id 241000007 via 10.5.7.0 dev flannel.1 onlink proto 241",
    "nexthop add id 50 via 10.5.6.0 dev flannel.1 onlink proto 77",
    "nexthop add id 60 group 241000007",
    "route add 203.0.113.0/24 nhid 241000006 table 99",
  );
  await routesOf(fixture.kernel).list(options);
  expect(gateways(fixture)).toEqual(expect.arrayContaining(["10.5.6.0", "10.5.7.0", "10.5.8.0"]));
  expect(gateways(fixture)).not.toContain("10.5.9.0");
});

test("routeTable() leaves nexthops alone that another daemon has just made for a gateway outside the networks", async () => {
  const fixture = await open();
  fixture.namespace.ip("nexthop add id 241000005 via 192.0.2.77 dev eth0 proto 241");
  const routes = routesOf(fixture.kernel);
  await routes.list(options);
  await routes.list(options);
  expect(gateways(fixture)).toEqual(["192.0.2.77"]);
});

test("routeTable() picks other ids where somebody has taken its own", async () => {
  const fixture = await open();
  fixture.namespace.ip(
    "nexthop add id 241000000 via 192.0.2.50 dev eth0 proto 77",
    "nexthop add id 241000001 via 192.0.2.51 dev eth0 proto 77",
  );
  const routes = routesOf(fixture.kernel);
  await put(routes, via("10.5.2.0/24", "192.0.2.2"), via("10.5.3.0/24", "192.0.2.3"), via("10.5.4.0/24", "192.0.2.4"));
  expect(await listed(routes)).toHaveLength(3);
  const foreign = fixture.namespace.json("nexthop show").filter((nexthop) => nexthop["protocol"] === "77");
  expect(foreign).toMatchObject([{ gateway: "192.0.2.50" }, { gateway: "192.0.2.51" }]);
});

test("routeTable() makes a nexthop anew that others deleted, told or not", async () => {
  const fixture = await open();
  const routes = routesOf(fixture.kernel);
  let told = 0;
  using _watch = routes.watch?.(() => told++);
  await put(routes, via("10.5.2.0/24", "192.0.2.2"));
  const [nexthop] = fixture.namespace.json("nexthop show");
  fixture.namespace.ip(`nexthop del id ${String(nexthop?.["id"])}`);
  await put(routes, via("10.5.2.0/24", "192.0.2.2"), via("10.5.3.0/24", "192.0.2.2"));
  await waitUntil(() => told > 0, { ...options, within: 5_000, what: "it is told" });
  expect(await listed(routes)).toHaveLength(2);
});

test("routeTable() keeps two tables' nexthops apart, though they share a gateway", async () => {
  const fixture = await open();
  const other = fixture.kernel.routeTable({ networks: [prefix("10.6.0.0/16")], adoptable: () => false });
  const routes = routesOf(fixture.kernel);
  await put(routes, via("10.5.2.0/24", "192.0.2.2"));
  await put(other, via("10.6.2.0/24", "192.0.2.2"));
  await remove(routes, via("10.5.2.0/24", "192.0.2.2"));
  expect(await listed(other)).toEqual(["10.6.2.0/24 via 192.0.2.2 dev eth0"]);
});

test("routeTable() leaves an equal plain route of its own, and reads ids where the kernel tells nothing else", async () => {
  const fixture = await open();
  fixture.namespace.ip("route add 10.5.2.0/24 via 192.0.2.2 dev eth0 proto 241");
  const routes = routesOf(fixture.kernel);
  const [row] = await routes.list(options);
  expect(row !== undefined && routes.equal(via("10.5.2.0/24", "192.0.2.2"), row)).toBe(true);
  fixture.namespace.run("sysctl", "-qw", "net.ipv4.nexthop_compat_mode=0");
  await put(routes, via("10.5.3.0/24", "192.0.2.3"));
  expect(await listed(routes)).toEqual(["10.5.2.0/24 via 192.0.2.2 dev eth0", "10.5.3.0/24 via 192.0.2.3 dev eth0"]);
});

test("routeTable() fails only the rows whose gateway is wrong, with the kernel's words", async () => {
  const fixture = await open();
  const rows = [via("10.5.2.0/24", "192.0.2.2"), via("10.5.3.0/24", "203.0.113.1"), via("10.5.4.0/24", "192.0.2.4")];
  const failures = await routesOf(fixture.kernel).apply({ puts: rows, removals: [] }, options);
  expect(failures.map(({ error }) => error.message)).toEqual([
    "add route 10.5.3.0/24 via 203.0.113.1 dev eth0: ENETUNREACH (Nexthop has invalid gateway)",
  ]);
  expect(await listed(routesOf(fixture.kernel))).toHaveLength(2);
  expect(gateways(fixture)).toHaveLength(2);
});
