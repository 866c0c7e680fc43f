// For tests only.
import { describe, expect, test } from "vitest";
import type { Kernel } from "../kernel.ts";
import {
  address,
  FLANNEL_1,
  isTold,
  type KernelHarness,
  listed,
  mac,
  open,
  openWithDevice,
  options,
  prefix,
  put,
  remove,
} from "./kernel-harness.ts";

const PEER = mac("c6:df:8a:93:40:02");
const OTHER = mac("c6:df:8a:93:40:03");

export function describePeerTables(name: string, harness: KernelHarness): void {
  describe(`${name}: neighborTable()`, () => {
    const table = (kernel: Kernel) =>
      kernel.neighborTable({ link: "flannel.1", networks: [prefix("10.5.0.0/16"), prefix("fd00:5::/48")] });
    const row = (destination: string, lladdr = PEER) => ({
      link: "flannel.1",
      destination: address(destination),
      mac: lladdr,
    });

    test("lists what was put, of both families", async () => {
      const { kernel } = await openWithDevice(harness);
      await put(table(kernel), row("10.5.2.0"), row("fd00:5:0:2::"));
      await put(table(kernel), row("10.5.2.0"), row("fd00:5:0:2::"));
      expect(await listed(table(kernel))).toEqual([
        `10.5.2.0 lladdr ${PEER} dev flannel.1`,
        `fd00:5:0:2:: lladdr ${PEER} dev flannel.1`,
      ]);
    });

    test("changes a MAC and removes what is there or gone", async () => {
      const { kernel } = await openWithDevice(harness);
      await put(table(kernel), row("10.5.2.0"), row("10.5.3.0"));
      await put(table(kernel), row("10.5.2.0", OTHER));
      expect(await listed(table(kernel))).toContain(`10.5.2.0 lladdr ${OTHER} dev flannel.1`);
      await remove(table(kernel), row("10.5.2.0", OTHER), row("10.5.3.0"));
      await remove(table(kernel), row("10.5.2.0", OTHER));
      expect(await listed(table(kernel))).toEqual([]);
    });

    test("lists nothing outside the networks", async () => {
      const { kernel, others } = await openWithDevice(harness);
      others.addNeighbor("flannel.1", address("10.6.0.1"), PEER);
      expect(await listed(table(kernel))).toEqual([]);
    });

    test("tells of entries that others remove or add, not of its own doings", async () => {
      const { kernel, others } = await openWithDevice(harness);
      const neighbors = table(kernel);
      expect(await isTold(harness, neighbors, () => put(neighbors, row("10.5.2.0"), row("fd00:5:0:2::")))).toBe(false);
      expect(await isTold(harness, neighbors, () => remove(neighbors, row("fd00:5:0:2::")))).toBe(false);
      const addOther = () => others.addNeighbor("flannel.1", address("10.5.9.0"), OTHER);
      expect(await isTold(harness, neighbors, addOther)).toBe(true);
      expect(await isTold(harness, neighbors, () => others.deleteNeighbor("flannel.1", address("10.5.2.0")))).toBe(
        true,
      );
      expect(await isTold(harness, neighbors, () => others.setLinkDown("flannel.1"))).toBe(true);
    });
  });

  describe(`${name}: fdbTable()`, () => {
    const table = (kernel: Kernel) => kernel.fdbTable({ link: "flannel.1" });
    const row = (destination: string, station = PEER) => ({
      link: "flannel.1",
      mac: station,
      destination: address(destination),
    });

    test("lists what was put", async () => {
      const { kernel } = await openWithDevice(harness);
      await put(table(kernel), row("192.0.2.2"));
      await put(table(kernel), row("192.0.2.2"));
      expect(await listed(table(kernel))).toEqual([`${PEER} dst 192.0.2.2 dev flannel.1`]);
    });

    test("changes a destination and removes what is there or gone", async () => {
      const { kernel } = await openWithDevice(harness);
      await put(table(kernel), row("192.0.2.2"), row("192.0.2.3", OTHER));
      await put(table(kernel), row("192.0.2.9"));
      expect(await listed(table(kernel))).toEqual([
        `${PEER} dst 192.0.2.9 dev flannel.1`,
        `${OTHER} dst 192.0.2.3 dev flannel.1`,
      ]);
      await remove(table(kernel), row("192.0.2.9"), row("192.0.2.3", OTHER));
      await remove(table(kernel), row("192.0.2.9"));
      expect(await listed(table(kernel))).toEqual([]);
    });

    test("fails by row where there is no such device", async () => {
      const { kernel } = open(harness);
      const failures = await table(kernel).apply(
        { puts: [row("192.0.2.2")], removals: [row("192.0.2.3", OTHER)] },
        options,
      );
      expect(failures.map(({ error }) => error.message)).toEqual([
        expect.stringContaining("ENODEV (there is no link flannel.1)"),
      ]);
    });

    test("tells of entries that others remove, and of a device made anew, not of its own doings", async () => {
      const { kernel, others } = await openWithDevice(harness);
      const fdb = table(kernel);
      expect(await isTold(harness, fdb, () => put(fdb, row("192.0.2.2"), row("192.0.2.3", OTHER)))).toBe(false);
      expect(await isTold(harness, fdb, () => remove(fdb, row("192.0.2.3", OTHER)))).toBe(false);
      expect(await isTold(harness, fdb, () => others.deleteFdb("flannel.1", PEER))).toBe(true);
      const links = kernel.linkTable({ owned: ["flannel.1"] });
      expect(await isTold(harness, fdb, () => put(links, { ...FLANNEL_1, port: 4789 }))).toBe(true);
      expect(await isTold(harness, fdb, () => others.deleteLink("flannel.1"))).toBe(true);
    });
  });
}
