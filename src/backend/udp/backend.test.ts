import { expect, test } from "vitest";
import { parseAddress } from "../../ip/address.ts";
import { parsePrefix } from "../../ip/prefix.ts";
import { FakeDescriptorKeeper } from "../../kernel/fake-descriptor-keeper.ts";
import { FakeKernel } from "../../kernel/fake-kernel.ts";
import { NO_OFFLOADS } from "../../kernel/kernel.ts";
import type { Lease } from "../../lease/lease.ts";
import { Arena } from "../../lib/arena.ts";
import { FakeClock } from "../../lib/fake-clock.ts";
import { silentLogger } from "../../lib/logger.ts";
import { IpPacket } from "../../wire/packet/ip-packet.ts";
import { ip4, payload, udp } from "../../wire/packet/packets.ts";
import { udpOverlay } from "./backend.ts";
import { FakePacketThread } from "./fake-packet-thread.ts";
import { ACCEPTED, Forwarding } from "./forwarding.ts";
import { PacketPath } from "./packet-path.ts";
import { PeerTable } from "./peer-table.ts";

const NETWORK = parsePrefix("10.5.0.0/16");

function lease(number: number, more: { readonly publicIP?: string; readonly backendType?: string } = {}): Lease {
  const { publicIP = `192.0.2.${number}`, backendType } = more;
  return {
    subnet: parsePrefix(`10.5.${number}.0/24`),
    attributes: { publicIP: parseAddress(publicIP), ...(backendType !== undefined && { backendType }) },
    isReservation: false,
    revision: 1n,
  };
}

function overlay() {
  const clock = new FakeClock();
  const threads: FakePacketThread[] = [];
  const kernel = new FakeKernel();
  const keeper = new FakeDescriptorKeeper();
  const path = new PacketPath({
    port: 8285,
    offload: true,
    networks: [NETWORK],
    ownSubnets: [parsePrefix("10.5.1.0/24")],
    ownAddresses: [],
    acceptFrom: [],
    logger: silentLogger,
    closeDescriptor: () => {},
    startThread: (options) => {
      const thread = new FakePacketThread(options);
      threads.push(thread);
      return thread;
    },
  });
  const tables = {
    sockets: kernel.udpSocketTable({ offload: true, onOpened: () => {} }),
    tuns: kernel.tunTable({ name: "flannel0", offload: true, onOpened: () => {} }),
    addresses: kernel.addressTable({ link: "flannel0" }),
    routes: kernel.routeTable({ networks: [NETWORK], adoptable: () => false }),
    peers: new PeerTable(() => {}),
  };
  const backend = udpOverlay(lease(1), {
    network: NETWORK,
    device: { name: "flannel0", mtu: 1472 },
    socket: { address: parseAddress("192.0.2.1"), port: 8285 },
    tables,
    path,
    kernel,
    keeper,
    clock,
    logger: silentLogger,
  });
  return { backend, path, kernel, keeper, clock, threads, fail: (error: Error) => threads[0]?.fail(error) };
}

/** Each layer's table and rows, as a person would write them. */
const shown = (peers: readonly Lease[]) =>
  overlay()
    .backend.desired(peers)
    .layers.map(({ table, rows }) => [table.name, rows.map((row) => table.format(row))]);

test("udpOverlay() wants socket, device with the Network's address and route, and a row for each peer", () => {
  const { backend } = overlay();
  expect([backend.mtu, backend.links, backend.port]).toEqual([1472, ["flannel0"], 8285]);
  expect(shown([lease(2), lease(3)])).toEqual([
    ["udp peers", ["10.5.2.0/24 via udp 192.0.2.2", "10.5.3.0/24 via udp 192.0.2.3"]],
    ["udp socket", ["192.0.2.1:8285"]],
    ["tun flannel0", ["flannel0 tun mtu 1472"]],
    ["addresses flannel0", ["10.5.1.0/16 dev flannel0"]],
    ["routes", ["10.5.0.0/16 dev flannel0"]],
  ]);
});

test("udpOverlay() names peers of other backends and peers without IPv4 as unreachable, and wants no rows for them", () => {
  const peers = [lease(2, { backendType: "vxlan" }), lease(3, { publicIP: "2001:db8::3" }), lease(4)];
  expect(shown(peers)[0]).toEqual(["udp peers", ["10.5.4.0/24 via udp 192.0.2.4"]]);
  const { unreachable } = overlay().backend.desired(peers);
  expect(unreachable).toEqual([
    { subnet: parsePrefix("10.5.2.0/24"), reason: 'its backend is "vxlan", ours is "udp"' },
    { subnet: parsePrefix("10.5.3.0/24"), reason: "its public IP is not IPv4" },
  ]);
});

test("udpOverlay() makes a peer's row once as long as its lease is the same", () => {
  const { backend } = overlay();
  const [a, b] = [lease(2), lease(3)];
  const rows = (peers: readonly Lease[]) => backend.desired(peers).layers[0]?.rows ?? [];
  const [first] = rows([a]);
  expect(rows([a, b])[0]).toBe(first);
  expect(rows([{ ...a }])[0]).not.toBe(first);
});

test("udpOverlay().run() has packets moved, and keeps the descriptors of the day for the next daemon", async () => {
  const { backend, path, keeper, clock } = overlay();
  const stop = new AbortController();
  const running = backend.run?.({ signal: stop.signal });
  path.setTun({ fd: 7, name: "flannel0", offloads: NO_OFFLOADS });
  path.setSocket({ fd: 8, segments: true, merges: true });
  await clock.advance(0);
  expect([...keeper.kept]).toEqual([]); // not on the way to READY
  await clock.advance(1_000);
  expect([...keeper.kept]).toEqual([
    ["udp-tun", 7],
    ["udp-socket", 8],
  ]);
  path.setTun({ fd: 9, name: "flannel0", offloads: NO_OFFLOADS });
  await clock.advance(1_000);
  expect(keeper.kept.get("udp-tun")).toBe(9);
  stop.abort();
  await expect(running).rejects.toBe(stop.signal.reason);
});

test("udpOverlay().run() ends with what the packet thread failed of: no host is better than one that moves no packets", async () => {
  const { backend, fail } = overlay();
  const running = backend.run?.({ signal: new AbortController().signal });
  fail(new Error("it broke"));
  await expect(running).rejects.toThrow("it broke");
});

test("udp learns addresses of its host that come later, and forgets those that go: nobody else may send from them", async () => {
  const { backend, kernel, clock, threads } = overlay();
  const running = new AbortController();
  const run = backend.run?.({ signal: running.signal });
  const { arena, packet } = packetFrom("198.51.100.7");
  const verdict = () => {
    const [thread] = threads;
    if (thread === undefined) throw new Error("no thread was started");
    return new Forwarding(thread.forwarding, arena).judge(ACCEPTED, packet);
  };
  expect(verdict()).toBe(0);
  const news = parsePrefix("198.51.100.7/32");
  kernel.setAddress("eth0", news);
  await clock.advance(1_000);
  expect(verdict()).toBe("own source");
  const orders = threads[0]?.orders.length;
  kernel.setAddress("eth0", parsePrefix("fe80::7/64"));
  await clock.advance(1_000);
  expect(threads[0]?.orders.length).toBe(orders);
  kernel.deleteAddress("eth0", news);
  await clock.advance(1_000);
  expect(verdict()).toBe(0);
  running.abort(new Error("enough"));
  await expect(run).rejects.toThrow("enough");
});

function packetFrom(source: string) {
  const arena = new Arena(1);
  const at = arena.reserve(2048);
  const bytes = ip4(udp(payload(30)), { source, destination: "10.5.1.2" });
  arena.bytes.set(bytes, at);
  const packet = new IpPacket(arena);
  packet.parse(at, bytes.length);
  return { arena, packet };
}
