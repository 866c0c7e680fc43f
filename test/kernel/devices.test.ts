import { expect, onTestFinished, test } from "vitest";
import { address, FLANNEL_1, mac, options, prefix, put } from "../../src/kernel/conformance/kernel-harness.ts";
import type { TunDevice } from "../../src/kernel/kernel.ts";
import { type LinuxFixture, openLinux } from "./linux-harness.ts";

// Needs root: network namespaces.

function open(): LinuxFixture {
  const fixture = openLinux();
  onTestFinished(() => fixture[Symbol.dispose]());
  return fixture;
}

test("linkTable() makes the device that ip shows for the reference's", async () => {
  const { kernel, namespace } = open();
  await put(kernel.linkTable({ owned: ["flannel.1"] }), FLANNEL_1);
  expect(namespace.run("ip", "-d", "link", "show", "flannel.1").replaceAll(/\s+/g, " ")).toContain(
    "vxlan id 1 local 192.0.2.1 dev eth0 srcport 0 0 dstport 8472 nolearning ttl auto ageing 300 udpcsum noudp6zerocsumtx noudp6zerocsumrx addrgenmode",
  );
  expect(namespace.json("link show flannel.1")).toMatchObject([
    { address: FLANNEL_1.mac, mtu: 1450, operstate: "UNKNOWN" },
  ]);
});

test("linkTable() makes gbp, learning and IPv6 devices", async () => {
  const { kernel, namespace } = open();
  namespace.ip("addr add fd00:1::1/64 dev eth0 nodad");
  const links = kernel.linkTable({ owned: ["flannel.2", "flannel.3"] });
  const gbp = { ...FLANNEL_1, name: "flannel.2", vni: 2, gbp: true, learning: true };
  const six = { ...FLANNEL_1, name: "flannel.3", vni: 3, local: address("fd00:1::1"), mtu: 1430 };
  await put(links, gbp, six);
  expect(await links.list(options)).toEqual([
    { ...gbp, port: 8472 },
    { ...six, port: 8472 },
  ]);
  expect(namespace.json("link show flannel.2")).toMatchObject([
    { linkinfo: { info_data: { gbp: true, learning: true } } },
  ]);
});

test("linkTable() says so where the kernel silently makes a smaller MTU", async () => {
  const { kernel, namespace } = open();
  namespace.ip("addr add fd00:1::1/64 dev eth0 nodad");
  const row = { ...FLANNEL_1, local: address("fd00:1::1"), mtu: 1450 };
  const [failure] = await kernel.linkTable({ owned: ["flannel.1"] }).apply({ puts: [row], removals: [] }, options);
  expect(failure?.error.message).toMatch(/the kernel made the MTU 1430/);
});

test("linkTable() replaces a device of another kind that is in the way", async () => {
  const { kernel, namespace } = open();
  namespace.ip("link add flannel.1 type bridge");
  const links = kernel.linkTable({ owned: ["flannel.1"] });
  expect(await links.list(options)).toEqual([]);
  await put(links, FLANNEL_1);
  expect(namespace.json("link show flannel.1")).toMatchObject([{ linkinfo: { info_kind: "vxlan" } }]);
});

test("addressTable() makes what ip addr shows for the reference's", async () => {
  const { kernel, namespace } = open();
  await put(kernel.linkTable({ owned: ["flannel.1"] }), FLANNEL_1);
  await put(kernel.addressTable({ link: "flannel.1" }), { link: "flannel.1", address: prefix("10.5.38.0/32") });
  const [link] = namespace.json("-4 addr show flannel.1");
  expect(link?.["addr_info"]).toMatchObject([{ local: "10.5.38.0", prefixlen: 32, scope: "global" }]);
  expect(namespace.json("route show dev flannel.1")).toEqual([]);
});

test("listLinks(), listAddresses() and listRoutes() tell what ip tells", async () => {
  const { kernel, namespace } = open();
  namespace.ip("route add default via 192.0.2.254 dev eth0 metric 7", "route add blackhole 10.9.0.0/16 proto static");
  const links = await kernel.listLinks(options);
  expect(links.map(({ index, name, mtu, mac, master, lower }) => ({ index, name, mtu, mac, master, lower }))).toEqual(
    namespace.json("link show").map((link) => ({
      index: link["ifindex"],
      name: link["ifname"],
      mtu: link["mtu"],
      mac: link["address"],
      master: link["master"],
      lower: link["link"],
    })),
  );
  expect(links.filter((link) => link.loopback).map((link) => link.name)).toEqual(["lo"]);
  const addresses = await kernel.listAddresses(options);
  expect(addresses).toContainEqual({ link: "eth0", address: prefix("192.0.2.1/24"), scope: "global" });
  expect(addresses).toContainEqual({ link: "lo", address: prefix("127.0.0.1/8"), scope: "host" });
  const routes = await kernel.listRoutes(options);
  const ours = [...namespace.json("route show"), ...namespace.json("-6 route show")];
  expect(routes).toHaveLength(ours.length);
  expect(routes).toContainEqual({
    destination: prefix("0.0.0.0/0"),
    link: "eth0",
    gateway: address("192.0.2.254"),
    onlink: false,
    scope: "global",
    protocol: 3,
    metric: 7,
    source: undefined,
    unicast: true,
    multipath: false,
  });
  expect(routes.find((route) => !route.unicast)).toMatchObject({ destination: prefix("10.9.0.0/16"), protocol: 4 });
});

test("fdbTable() replaces and removes entries that lead to another port or network, and leaves groups and its own dynamic ones", async () => {
  const { kernel, namespace } = open();
  await put(kernel.linkTable({ owned: ["flannel.1"] }), FLANNEL_1);
  const add = (mac_: string, ...rest: readonly string[]) =>
    namespace.run("bridge", "fdb", "add", mac_, "dev", "flannel.1", "dst", "192.0.2.2", ...rest);
  add("02:00:00:00:00:02", "port", "4444");
  add("02:00:00:00:00:03", "vni", "77");
  add("02:00:00:00:00:04", "dynamic");
  add("00:00:00:00:00:00");
  const fdb = kernel.fdbTable({ link: "flannel.1" });
  const row = { link: "flannel.1", mac: mac("02:00:00:00:00:02"), destination: address("192.0.2.2") };
  const rows = await fdb.list(options);
  expect(rows.map(({ mac: station }) => station).toSorted()).toEqual(["02:00:00:00:00:02", "02:00:00:00:00:03"]);
  expect(rows.some((actual) => fdb.equal(row, actual))).toBe(false);
  const stale = rows.filter(({ mac: station }) => station === "02:00:00:00:00:03");
  expect(await fdb.apply({ puts: [row], removals: stale }, options)).toEqual([]);
  expect(await fdb.list(options)).toEqual([row]);
  expect(namespace.run("bridge", "fdb", "show", "dev", "flannel.1")).toContain("00:00:00:00:00:00 dst 192.0.2.2");
});

test.each([true, false])(
  "tunTable() has the kernel leave segmentation and checksums to us if asked: %s",
  async (offload) => {
    const { kernel, namespace } = open();
    const onOpened = (device: TunDevice | undefined) =>
      onTestFinished(() => {
        if (device !== undefined) kernel.closeDescriptor(device.fd);
      });
    await put(kernel.tunTable({ name: "flannel0", offload, onOpened }), { name: "flannel0", mtu: 1472 });
    expect(namespace.json("link show flannel0")).toMatchObject([
      { linkinfo: { info_kind: "tun", info_data: { type: "tun", pi: false, vnet_hdr: offload, multi_queue: false } } },
    ]);
    const features = namespace.run("ethtool", "-k", "flannel0");
    for (const feature of [
      "tx-checksum-ip-generic",
      "tx-tcp-segmentation",
      "tx-tcp6-segmentation",
      "tx-udp-segmentation",
    ])
      expect(features).toMatch(new RegExp(`${feature}: ${offload ? "on" : "off"}`));
  },
);
