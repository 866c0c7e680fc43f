// For tests only.
import { describe, expect, onTestFinished, test } from "vitest";
import type { Kernel, TunDevice, TunScope, UdpSocket, UdpSocketRow, UdpSocketScope } from "../kernel.ts";
import { address, isTold, type KernelHarness, listed, open, options, prefix, put, remove } from "./kernel-harness.ts";

const TUN = { name: "flannel0", mtu: 1472 };
const SOCKET: UdpSocketRow = { address: address("192.0.2.1"), port: 8285 };
const ALL = { header: true, checksum: true, tcp: true, udp: true };
const NONE = { header: false, checksum: false, tcp: false, udp: false };

/** A table and what it has told of; the test's end closes the descriptors. */
function tunTable(kernel: Kernel, scope: Partial<TunScope> = {}) {
  const opened: (TunDevice | undefined)[] = [];
  const onOpened = (device: TunDevice | undefined) => {
    opened.push(device);
    if (device !== undefined) closeAtEnd(kernel, device.fd);
  };
  return { table: kernel.tunTable({ name: "flannel0", offload: true, ...scope, onOpened }), opened };
}

function socketTable(kernel: Kernel, scope: Partial<UdpSocketScope> = {}) {
  const opened: (UdpSocket | undefined)[] = [];
  const onOpened = (socket: UdpSocket | undefined) => {
    opened.push(socket);
    if (socket !== undefined) closeAtEnd(kernel, socket.fd);
  };
  return { table: kernel.udpSocketTable({ offload: true, ...scope, onOpened }), opened };
}

/** Unless it was closed meanwhile, and the number may be another's. */
function closeAtEnd(kernel: Kernel, fd: number): void {
  onTestFinished(() => {
    const isSocket = [8285, 8286].some((port) => kernel.isBoundTo(fd, { ...SOCKET, port }));
    if (isSocket || kernel.attachedTun(fd) !== undefined) kernel.closeDescriptor(fd);
  });
}

const fdOf = (opened: readonly ({ readonly fd: number } | undefined)[], index = 0) => opened[index]?.fd ?? -1;

/** Offers a descriptor once and counts how often it was asked for. */
function offer(fd: number | undefined) {
  const offers: (number | undefined)[] = [fd];
  const inherited = () => {
    asked.count++;
    return Promise.resolve(offers.shift());
  };
  const asked = { count: 0, inherited };
  return asked;
}

async function find(kernel: Kernel, name = "flannel0") {
  return (await kernel.listLinks(options)).find((link) => link.name === name);
}

export function describePacketTables(name: string, harness: KernelHarness): void {
  describe(`${name}: tunTable()`, () => {
    test("makes a device, up and listed as it was asked for, and tells its descriptor", async () => {
      const { kernel } = open(harness);
      const { table, opened } = tunTable(kernel);
      expect(await listed(table)).toEqual([]);
      await put(table, TUN);
      expect(await table.list(options)).toEqual([TUN]);
      expect(await find(kernel)).toMatchObject({ kind: "tun", mtu: 1472, up: true });
      expect(opened).toMatchObject([{ name: "flannel0", offloads: ALL }]);
      expect(kernel.attachedTun(fdOf(opened))).toEqual({ name: "flannel0", hasHeader: true });
    });

    test("makes one without offloads, if asked", async () => {
      const { kernel } = open(harness);
      const { table, opened } = tunTable(kernel, { offload: false });
      await put(table, TUN);
      expect(opened).toMatchObject([{ offloads: NONE }]);
      expect(kernel.attachedTun(fdOf(opened))).toEqual({ name: "flannel0", hasHeader: false });
    });

    test("mends MTU and up in place, and does nothing where nothing is amiss", async () => {
      const { kernel, others } = open(harness);
      const { table, opened } = tunTable(kernel);
      await put(table, TUN);
      const { index } = (await find(kernel)) ?? {};
      await put(table, TUN);
      others.setMtu("flannel0", 1400);
      expect(await table.list(options)).toEqual([{ ...TUN, mtu: 1400 }]);
      await put(table, TUN);
      expect(await table.list(options)).toEqual([TUN]);
      others.setLinkDown("flannel0");
      const [down] = await table.list(options);
      expect(down).toEqual({ ...TUN, up: false });
      expect(down !== undefined && table.equal(TUN, down)).toBe(false);
      await put(table, TUN);
      expect(await table.list(options)).toEqual([TUN]);
      expect((await find(kernel))?.index).toBe(index);
      expect(opened).toHaveLength(1);
    });

    test("makes a device anew that somebody deleted", async () => {
      const { kernel, others } = open(harness);
      const { table, opened } = tunTable(kernel);
      await put(table, TUN);
      others.deleteLink("flannel0");
      expect(await listed(table)).toEqual([]);
      expect(kernel.attachedTun(fdOf(opened))).toBeUndefined();
      await put(table, TUN);
      expect(await table.list(options)).toEqual([TUN]);
      expect(opened).toMatchObject([{ name: "flannel0" }, { name: "flannel0" }]);
      expect(fdOf(opened, 1)).not.toBe(fdOf(opened));
    });

    test("neither lists nor replaces a device of others that has the name", async () => {
      const { kernel, others } = open(harness);
      others.addLink("flannel0");
      const { table, opened } = tunTable(kernel);
      expect(await listed(table)).toEqual([]);
      const [failure] = await table.apply({ puts: [TUN], removals: [] }, options);
      expect(failure?.error.message).toContain("flannel0");
      expect(await find(kernel)).toMatchObject({ kind: "bridge" });
      expect(opened).toEqual([]);
      others.deleteLink("flannel0");
      await put(table, TUN);
    });

    test("has nothing put on a device of others that takes the name, nor taken from it", async () => {
      const { kernel, others } = open(harness);
      const { table } = tunTable(kernel);
      const addresses = kernel.addressTable({ link: "flannel0" });
      const networks = [prefix("10.5.0.0/16")];
      const routes = kernel.routeTable({ networks, adoptable: () => false });
      const ours = { link: "flannel0", address: prefix("10.5.1.0/16"), hasRoute: false } as const;
      const route = { destination: prefix("10.5.0.0/16"), link: "flannel0", onlink: false, scope: "link" } as const;
      await put(table, TUN);
      await put(addresses, ours);
      await put(routes, route);
      others.deleteLink("flannel0");
      others.addLink("flannel0");
      others.addAddress("flannel0", prefix("198.51.100.1/24"));
      expect([await listed(addresses), await listed(routes)]).toEqual([[], []]);
      for (const failures of [
        await addresses.apply({ puts: [ours], removals: [] }, options),
        await routes.apply({ puts: [route], removals: [] }, options),
      ])
        expect(failures.map(({ error }) => error.message)).toEqual([expect.stringContaining("no link flannel0")]);
      const theirs = { link: "flannel0", address: prefix("198.51.100.1/24") };
      await remove(addresses, theirs);
      expect(await kernel.listAddresses(options)).toContainEqual({ ...theirs, scope: "global" });
      others.deleteLink("flannel0");
      await put(table, TUN);
      await put(addresses, ours);
      await put(routes, route);
      expect(await listed(addresses)).toEqual(["10.5.1.0/16 dev flannel0"]);
    });

    test("neither lists nor takes a device that somebody else holds", async () => {
      const { kernel } = open(harness);
      await put(tunTable(kernel).table, TUN);
      const { table, opened } = tunTable(kernel);
      expect(await listed(table)).toEqual([]);
      const [failure] = await table.apply({ puts: [TUN], removals: [] }, options);
      expect(failure?.error).toMatchObject({ message: expect.stringContaining("flannel0") });
      expect(failure?.error.message).toContain("EBUSY");
      expect(opened).toEqual([]);
    });

    test("lets go of a device, which goes with its last descriptor", async () => {
      const { kernel } = open(harness);
      const { table, opened } = tunTable(kernel);
      await put(table, TUN);
      await remove(table, TUN);
      expect(opened).toHaveLength(2);
      expect(opened[1]).toBeUndefined();
      expect(await listed(table)).toEqual([]);
      kernel.closeDescriptor(fdOf(opened));
      expect(await find(kernel)).toBeUndefined();
    });

    test("goes on with the device that an earlier daemon left", async () => {
      const { kernel } = open(harness);
      const { opened } = tunTable(kernel);
      const former = tunTable(kernel);
      await put(former.table, TUN);
      const before = await find(kernel);
      const asked = offer(fdOf(former.opened));
      const next = tunTable(kernel, asked);
      await put(next.table, TUN);
      expect(next.opened).toEqual(former.opened);
      expect(await find(kernel)).toEqual(before);
      expect(await next.table.list(options)).toEqual([TUN]);
      await put(next.table, TUN);
      expect([asked.count, opened]).toEqual([1, []]);
    });

    test.for([
      { what: "of another name", scope: { name: "flannel7" } },
      { what: "that was held otherwise", scope: { offload: false } },
    ])("makes a device of its own instead of one $what, and closes that", async ({ scope }) => {
      const { kernel } = open(harness);
      const former = tunTable(kernel, scope);
      await put(former.table, { ...TUN, name: scope.name ?? "flannel0" });
      const next = tunTable(kernel, offer(fdOf(former.opened)));
      await put(next.table, TUN);
      expect(kernel.attachedTun(fdOf(next.opened))).toEqual({ name: "flannel0", hasHeader: true });
      expect(await find(kernel, "flannel7")).toBeUndefined();
    });

    test("tells of a device that others delete, change or bring down, not of its own doings", async () => {
      const { kernel, others } = open(harness);
      const { table } = tunTable(kernel);
      expect(await isTold(harness, table, () => put(table, TUN))).toBe(false);
      expect(await isTold(harness, table, () => put(table, { ...TUN, mtu: 1400 }))).toBe(false);
      expect(await isTold(harness, table, () => others.setMtu("flannel0", 1300))).toBe(true);
      expect(await isTold(harness, table, () => others.setLinkDown("flannel0"))).toBe(true);
      expect(await isTold(harness, table, () => others.deleteLink("flannel0"))).toBe(true);
      expect(await isTold(harness, table, () => put(table, TUN))).toBe(false);
      expect(await isTold(harness, table, () => remove(table, TUN))).toBe(false);
    });
  });

  describe(`${name}: udpSocketTable()`, () => {
    test("opens a socket that is bound as asked, and tells its descriptor", async () => {
      const { kernel } = open(harness);
      const { table, opened } = socketTable(kernel);
      expect(await listed(table)).toEqual([]);
      await put(table, SOCKET);
      expect(await listed(table)).toEqual(["192.0.2.1:8285"]);
      expect(opened).toMatchObject([{ segments: true, merges: true }]);
      expect(kernel.isBoundTo(fdOf(opened), SOCKET)).toBe(true);
      expect(kernel.isBoundTo(fdOf(opened), { ...SOCKET, port: 8286 })).toBe(false);
      expect(kernel.isBoundTo(fdOf(opened), { ...SOCKET, address: address("192.0.2.2") })).toBe(false);
      expect(kernel.isBoundTo(-1, SOCKET)).toBe(false);
    });

    test("opens one without offloads, if asked", async () => {
      const { kernel } = open(harness);
      const { table, opened } = socketTable(kernel, { offload: false });
      await put(table, SOCKET);
      expect(opened).toMatchObject([{ segments: false, merges: false }]);
    });

    test("fails by row where the address is not ours or the port is taken, and works once that is over", async () => {
      const { kernel } = open(harness);
      const { table, opened } = socketTable(kernel);
      const elsewhere = { ...SOCKET, address: address("192.0.2.77") };
      const [notHere] = await table.apply({ puts: [elsewhere], removals: [] }, options);
      expect(notHere?.error.message).toContain("192.0.2.77:8285: EADDRNOTAVAIL");
      const other = socketTable(kernel);
      await put(other.table, SOCKET);
      const [taken] = await table.apply({ puts: [SOCKET], removals: [] }, options);
      expect(taken?.error.message).toContain("192.0.2.1:8285: EADDRINUSE");
      expect([await listed(table), opened]).toEqual([[], []]);
      kernel.closeDescriptor(fdOf(other.opened));
      await put(table, SOCKET);
    });

    test("opens another one where the row changes, and lets go of what is removed", async () => {
      const { kernel } = open(harness);
      const { table, opened } = socketTable(kernel);
      await put(table, SOCKET);
      const changed = { ...SOCKET, port: 8286 };
      expect(await table.apply({ puts: [changed], removals: [SOCKET] }, options)).toEqual([]);
      expect(await listed(table)).toEqual(["192.0.2.1:8286"]);
      expect(kernel.isBoundTo(fdOf(opened, 1), changed)).toBe(true);
      await remove(table, ...(await table.list(options)));
      expect(await listed(table)).toEqual([]);
      expect(opened).toHaveLength(3);
      expect(opened[2]).toBeUndefined();
    });

    test("goes on with the socket that an earlier daemon left, if it is bound so", async () => {
      const { kernel } = open(harness);
      const former = socketTable(kernel);
      await put(former.table, SOCKET);
      const same = socketTable(kernel, offer(fdOf(former.opened)));
      await put(same.table, SOCKET);
      expect(same.opened).toEqual(former.opened);
      const other = socketTable(kernel, offer(fdOf(same.opened)));
      await put(other.table, { ...SOCKET, port: 8286 });
      expect(kernel.isBoundTo(fdOf(same.opened), SOCKET)).toBe(false); // closed
      expect(kernel.isBoundTo(fdOf(other.opened), { ...SOCKET, port: 8286 })).toBe(true);
    });
  });
}
