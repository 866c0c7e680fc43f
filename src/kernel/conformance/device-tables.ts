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

export function describeDeviceTables(name: string, harness: KernelHarness): void {
  describe(`${name}: linkTable()`, () => {
    const table = (kernel: Kernel) => kernel.linkTable({ owned: ["flannel.1"] });

    test("makes a vxlan device that is then listed as it was asked for", async () => {
      const { kernel } = open(harness);
      const links = table(kernel);
      expect(await listed(links)).toEqual([]);
      await put(links, FLANNEL_1);
      const [row] = await links.list(options);
      expect(row).toEqual({ ...FLANNEL_1, port: 8472 });
      expect(row !== undefined && links.equal(FLANNEL_1, row)).toBe(true);
      const link = (await kernel.listLinks(options)).find((candidate) => candidate.name === "flannel.1");
      expect(link).toMatchObject({
        kind: "vxlan",
        up: true,
        running: true,
        mtu: 1450,
        lower: "eth0",
        mac: FLANNEL_1.mac,
      });
    });

    test("does nothing when the device is there already", async () => {
      const { kernel } = open(harness);
      await put(table(kernel), FLANNEL_1);
      const before = await kernel.listLinks(options);
      await put(table(kernel), FLANNEL_1);
      expect(await kernel.listLinks(options)).toEqual(before);
    });

    test("changes MAC, MTU and up in place", async () => {
      const { kernel, others } = open(harness);
      await put(table(kernel), FLANNEL_1);
      const index = await indexOf(kernel, "flannel.1");
      others.setLinkDown("flannel.1");
      const [down] = await table(kernel).list(options);
      expect(down?.up).toBe(false);
      const changed = { ...FLANNEL_1, mac: mac("c6:df:8a:93:40:f9"), mtu: 1400 };
      await put(table(kernel), changed);
      expect(await table(kernel).list(options)).toEqual([{ ...changed, port: 8472 }]);
      expect(await indexOf(kernel, "flannel.1")).toBe(index);
    });

    test.for([
      { what: "VNI", change: { vni: 7 } },
      { what: "port", change: { port: 4789 } },
      { what: "gbp", change: { gbp: true } },
      { what: "learning", change: { learning: true } },
      { what: "local address", change: { local: address("192.0.2.9") } },
    ])("makes a device anew that has another $what", async ({ change }) => {
      const { kernel } = open(harness);
      const former = { ...FLANNEL_1, ...change };
      await put(table(kernel), former);
      const [row] = await table(kernel).list(options);
      expect(row !== undefined && table(kernel).equal(FLANNEL_1, row)).toBe(false);
      const index = await indexOf(kernel, "flannel.1");
      await put(table(kernel), FLANNEL_1);
      expect(await table(kernel).list(options)).toEqual([{ ...FLANNEL_1, port: 8472 }]);
      expect(await indexOf(kernel, "flannel.1")).not.toBe(index);
    });

    test("names the device that has the VNI and port already", async () => {
      const { kernel } = open(harness);
      const other = { ...FLANNEL_1, name: "other7", mac: mac("66:72:44:00:00:77") };
      await put(kernel.linkTable({ owned: ["other7"] }), other);
      const [failure] = await table(kernel).apply({ puts: [FLANNEL_1], removals: [] }, options);
      expect(failure?.error).toMatchObject({ code: "netlink", errnoName: "EEXIST" });
      expect(failure?.error.message).toContain("link other7 has this VNI and port already");
    });

    test("makes its own device anew that somebody renamed", async () => {
      const { kernel } = open(harness);
      await put(kernel.linkTable({ owned: ["other7"] }), { ...FLANNEL_1, name: "other7" });
      await put(table(kernel), FLANNEL_1);
      const names = (await kernel.listLinks(options)).map(({ name }) => name);
      expect([names.includes("flannel.1"), names.includes("other7")]).toEqual([true, false]);
    });

    test("names the link below that is not there", async () => {
      const { kernel } = open(harness);
      const [failure] = await table(kernel).apply({ puts: [{ ...FLANNEL_1, lower: "eth7" }], removals: [] }, options);
      expect(failure?.error.message).toContain("ENODEV (there is no link eth7)");
    });

    test("removes a device, and succeeds where it is gone", async () => {
      const { kernel } = open(harness);
      await put(table(kernel), FLANNEL_1);
      await remove(table(kernel), FLANNEL_1);
      expect((await kernel.listLinks(options)).map((link) => link.name)).not.toContain("flannel.1");
      await remove(table(kernel), FLANNEL_1);
    });

    test("lists no device of another name", async () => {
      const { kernel } = open(harness);
      await put(kernel.linkTable({ owned: ["flannel.2"] }), { ...FLANNEL_1, name: "flannel.2", vni: 2 });
      expect(await listed(table(kernel))).toEqual([]);
    });

    test("tells of a device that others delete, change or bring down, not of its own doings", async () => {
      const { kernel, others } = open(harness);
      const links = table(kernel);
      expect(await isTold(harness, links, () => put(links, FLANNEL_1))).toBe(false);
      expect(await isTold(harness, links, () => put(links, { ...FLANNEL_1, mtu: 1400 }))).toBe(false);
      expect(await isTold(harness, links, () => others.setMac("flannel.1", mac("c6:df:8a:93:40:00")))).toBe(true);
      expect(await isTold(harness, links, () => others.setLinkDown("flannel.1"))).toBe(true);
      expect(await isTold(harness, links, () => others.deleteLink("flannel.1"))).toBe(true);
    });
  });

  describe(`${name}: addressTable()`, () => {
    const table = (kernel: Kernel) => kernel.addressTable({ link: "flannel.1" });
    const row = (text: string) => ({ link: "flannel.1", address: prefix(text) });

    test("lists what was put, of both families", async () => {
      const { kernel } = await openWithDevice(harness);
      await put(table(kernel), row("10.5.1.0/32"), row("fd00:5::1/64"));
      await put(table(kernel), row("10.5.1.0/32"));
      expect(await listed(table(kernel))).toEqual(["10.5.1.0/32 dev flannel.1", "fd00:5::1/64 dev flannel.1"]);
    });

    test("removes an address and keeps the others, also of its own network", async () => {
      const { kernel } = await openWithDevice(harness);
      await put(table(kernel), row("10.5.1.1/24"));
      const addresses = table(kernel);
      await addresses.list(options);
      const plan = { puts: [row("10.5.1.2/24")], removals: [row("10.5.1.1/24")] };
      expect(await addresses.apply(plan, options)).toEqual([]);
      expect(await listed(addresses)).toEqual(["10.5.1.2/24 dev flannel.1"]);
      await remove(addresses, row("10.5.1.1/24"));
    });

    test("fails by row where there is no such link, and has nothing to remove there", async () => {
      const { kernel } = open(harness);
      expect(await listed(table(kernel))).toEqual([]);
      const [failure] = await table(kernel).apply({ puts: [row("10.5.1.0/32")], removals: [] }, options);
      expect(failure?.error.message).toContain("there is no link flannel.1");
    });

    test("tells of an address that others add or remove, and of the link going", async () => {
      const { kernel, others } = await openWithDevice(harness);
      const addresses = table(kernel);
      expect(await isTold(harness, addresses, () => put(addresses, row("10.5.1.0/32"), row("fd00:5::1/64")))).toBe(
        false,
      );
      expect(await isTold(harness, addresses, () => others.addAddress("flannel.1", prefix("10.9.0.1/32")))).toBe(true);
      expect(await isTold(harness, addresses, () => others.deleteAddress("flannel.1", prefix("10.5.1.0/32")))).toBe(
        true,
      );
      expect(await isTold(harness, addresses, () => others.deleteLink("flannel.1"))).toBe(true);
    });
  });

  describe(`${name}: sysctlTable()`, () => {
    const key = "net/ipv4/neigh/flannel.1/mcast_solicit";

    test("writes values and lists them, absent where the device is", async () => {
      const { kernel, others } = await openWithDevice(harness);
      const sysctls = kernel.sysctlTable({ keys: [key] });
      await put(sysctls, { key, value: "0" });
      expect(await sysctls.list(options)).toEqual([{ key, value: "0" }]);
      await remove(sysctls, { key, value: "0" });
      expect(await sysctls.list(options)).toEqual([{ key, value: "0" }]);
      expect(await isTold(harness, sysctls, () => others.deleteLink("flannel.1"))).toBe(true);
      expect(await sysctls.list(options)).toEqual([]);
      const failures = await sysctls.apply({ puts: [{ key, value: "0" }], removals: [] }, options);
      expect(failures).toHaveLength(1);
    });
  });
}

async function indexOf(kernel: Kernel, name: string): Promise<number | undefined> {
  return (await kernel.listLinks(options)).find((link) => link.name === name)?.index;
}
