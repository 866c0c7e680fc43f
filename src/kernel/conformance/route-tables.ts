// For tests only.
import { describe, expect, test } from "vitest";
import { type Kernel, type KernelRoute, ROUTE_PROTOCOL } from "../kernel.ts";
import {
  address,
  isTold,
  type KernelHarness,
  listed,
  open,
  openWithDevice,
  options,
  prefix,
  put,
  remove,
} from "./kernel-harness.ts";

export function describeRouteTables(name: string, harness: KernelHarness): void {
  const table = (kernel: Kernel, adoptable: (route: KernelRoute) => boolean = () => false) =>
    kernel.routeTable({ networks: [prefix("10.5.0.0/16"), prefix("fd00:5::/48")], adoptable });
  const peer = (subnet: string, gateway = subnet.replace(/\/\d+$/, ""), link = "flannel.1") => ({
    destination: prefix(subnet),
    link,
    gateway: address(gateway),
    onlink: link !== "eth0",
  });

  describe(`${name}: routeTo()`, () => {
    test("tells the link and the source of packets to an address, and nothing of one that is ours or out of reach", async () => {
      const { kernel, others } = open(harness);
      const way = async (to: string) => await kernel.routeTo(address(to), options);
      expect(await way("192.0.2.9")).toEqual({ link: "eth0", gateway: undefined, source: address("192.0.2.1") });
      expect(await way("198.51.100.1")).toBeUndefined();
      others.addRoute({
        destination: prefix("198.51.100.0/24"),
        link: "eth0",
        gateway: address("192.0.2.254"),
        protocol: 4,
      });
      expect(await way("198.51.100.1")).toMatchObject({ link: "eth0", gateway: address("192.0.2.254") });
      expect(await way("192.0.2.1")).toBeUndefined();
    });
  });

  describe(`${name}: routeTable()`, () => {
    test("lists what was put, of both families", async () => {
      const { kernel } = await openWithDevice(harness);
      const network = {
        destination: prefix("10.5.0.0/16"),
        link: "flannel.1",
        onlink: false,
        scope: "global",
      } as const;
      const rows = [network, peer("10.5.2.0/24"), peer("fd00:5:0:2::/64")];
      const routes = table(kernel);
      await put(routes, ...rows);
      await put(routes, ...rows);
      expect(await listed(table(kernel))).toEqual([
        "10.5.0.0/16 dev flannel.1",
        "10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink",
        "fd00:5:0:2::/64 via fd00:5:0:2:: dev flannel.1 onlink",
      ]);
      const actual = await table(kernel).list(options);
      for (const row of rows) expect(actual.some((candidate) => routes.equal(row, candidate))).toBe(true);
      const protocols = (await kernel.listRoutes(options)).filter((route) => route.link === "flannel.1");
      expect(protocols.filter((route) => route.protocol === ROUTE_PROTOCOL)).toHaveLength(3);
    });

    test("replaces a route of its own, also on another link", async () => {
      const { kernel } = await openWithDevice(harness);
      await put(table(kernel), peer("10.5.2.0/24", "192.0.2.2", "eth0"));
      await put(table(kernel), peer("10.5.2.0/24"));
      expect(await listed(table(kernel))).toEqual(["10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink"]);
    });

    test("removes what is there or gone", async () => {
      const { kernel } = await openWithDevice(harness);
      await put(table(kernel), peer("10.5.2.0/24"), peer("fd00:5:0:2::/64"));
      await remove(table(kernel), peer("10.5.2.0/24"), peer("fd00:5:0:2::/64"), peer("10.5.3.0/24"));
      expect(await listed(table(kernel))).toEqual([]);
    });

    test("neither lists nor overwrites nor removes what others made", async () => {
      const { kernel, others } = await openWithDevice(harness);
      const foreign = { destination: prefix("10.5.2.0/24"), link: "eth0", gateway: address("192.0.2.9"), protocol: 4 };
      others.addRoute(foreign);
      others.addRoute({ ...foreign, destination: prefix("10.5.3.0/24"), protocol: 3 });
      const routes = table(kernel);
      expect(await listed(routes)).toEqual([]);
      const [failure] = await routes.apply({ puts: [peer("10.5.2.0/24")], removals: [] }, options);
      expect(failure?.error).toMatchObject({ errnoName: "EEXIST" });
      expect(failure?.error.message).toContain("conflict: 10.5.2.0/24 via 192.0.2.9 dev eth0 proto static is not ours");
      await routes.apply({ puts: [], removals: [peer("10.5.2.0/24", "192.0.2.9", "eth0")] }, options);
      const left = (await kernel.listRoutes(options)).filter((route) => route.protocol === 3 || route.protocol === 4);
      expect(left).toHaveLength(2);
    });

    test("lists no route outside the networks", async () => {
      const { kernel } = await openWithDevice(harness);
      const other = kernel.routeTable({ networks: [prefix("10.6.0.0/16")], adoptable: () => false });
      await put(other, peer("10.6.2.0/24"));
      expect(await listed(table(kernel))).toEqual([]);
    });

    test("adopts a boot route that is exactly what is wanted, and removes it as its own", async () => {
      const { kernel, others } = open(harness);
      const wanted = peer("10.5.2.0/24", "192.0.2.2", "eth0");
      others.addRoute({ ...wanted, protocol: 3 });
      const routes = table(kernel);
      await put(routes, wanted);
      expect((await kernel.listRoutes(options)).filter((route) => route.protocol === ROUTE_PROTOCOL)).toEqual([]);
      expect(await listed(routes)).toEqual(["10.5.2.0/24 via 192.0.2.2 dev eth0"]);
      await remove(routes, wanted);
      expect((await kernel.listRoutes(options)).filter((route) => route.protocol === 3)).toEqual([]);
    });

    test("does not adopt a boot route that is not what is wanted", async () => {
      const { kernel, others } = open(harness);
      others.addRoute({ ...peer("10.5.2.0/24", "192.0.2.9", "eth0"), protocol: 3 });
      const plan = { puts: [peer("10.5.2.0/24", "192.0.2.2", "eth0")], removals: [] };
      const [failure] = await table(kernel).apply(plan, options);
      expect(failure?.error.message).toContain("via 192.0.2.9 dev eth0 proto boot is not ours");
    });

    test("takes over and removes boot routes that an earlier flannel left", async () => {
      const { kernel, others } = open(harness);
      others.addRoute({ ...peer("10.5.2.0/24", "192.0.2.9", "eth0"), protocol: 3 });
      others.addRoute({ ...peer("10.5.3.0/24", "192.0.2.3", "eth0"), protocol: 3 });
      const routes = table(kernel, (route) => route.gateway !== undefined);
      expect(await listed(routes)).toHaveLength(2);
      await put(routes, peer("10.5.2.0/24", "192.0.2.2", "eth0"));
      await remove(routes, peer("10.5.3.0/24", "192.0.2.3", "eth0"));
      expect(await listed(routes)).toEqual(["10.5.2.0/24 via 192.0.2.2 dev eth0"]);
    });

    test("fails by row where there is no such link", async () => {
      const { kernel } = open(harness);
      const [failure] = await table(kernel).apply({ puts: [peer("10.5.2.0/24")], removals: [] }, options);
      expect(failure?.error.message).toBe(
        "add route 10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink: ENODEV (there is no link flannel.1)",
      );
    });

    test("puts all back after the device was deleted and made again, and after it was down", async () => {
      const { kernel, others } = await openWithDevice(harness);
      const links = kernel.linkTable({ owned: ["flannel.1"] });
      const routes = table(kernel);
      using _watch = routes.watch?.(() => {});
      await put(routes, peer("10.5.2.0/24"));
      const [device] = await links.list(options);
      for (const harm of [() => others.deleteLink("flannel.1"), () => others.setLinkDown("flannel.1")]) {
        harm();
        if (device !== undefined) await put(links, device);
        await put(routes, peer("10.5.2.0/24"), peer("10.5.3.0/24"));
        expect(await listed(routes)).toEqual([
          "10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink",
          "10.5.3.0/24 via 10.5.3.0 dev flannel.1 onlink",
        ]);
      }
    });

    test("tells of routes that others remove, and of the link going, not of its own doings", async () => {
      const { kernel, others } = await openWithDevice(harness);
      const routes = table(kernel);
      const rows = [peer("10.5.2.0/24"), peer("10.5.3.0/24"), peer("fd00:5:0:2::/64")];
      expect(await isTold(harness, routes, () => put(routes, ...rows))).toBe(false);
      expect(await isTold(harness, routes, () => remove(routes, peer("10.5.3.0/24")))).toBe(false);
      expect(await isTold(harness, routes, () => others.deleteRoute(prefix("10.5.2.0/24")))).toBe(true);
      expect(await isTold(harness, routes, () => others.deleteRoute(prefix("fd00:5:0:2::/64")))).toBe(true);
      expect(await isTold(harness, routes, () => others.setLinkDown("flannel.1"))).toBe(true);
    });
  });
}
