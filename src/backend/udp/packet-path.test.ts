import { expect, test } from "vitest";
import { parseAddress } from "../../ip/address.ts";
import { parsePrefix } from "../../ip/prefix.ts";
import { NO_OFFLOADS, type TunDevice, type UdpSocket } from "../../kernel/kernel.ts";
import { RecordingLogger } from "../../lib/recording-logger.ts";
import { CountersWriter } from "./counters.ts";
import { FakePacketThread } from "./fake-packet-thread.ts";
import { PacketPath } from "./packet-path.ts";

const TUN: TunDevice = { fd: 7, name: "flannel0", offloads: NO_OFFLOADS };
const SOCKET: UdpSocket = { fd: 8, segments: true, merges: true };
const PEER = { subnet: parsePrefix("10.5.2.0/24"), publicIP: parseAddress("192.0.2.2"), slot: 0 };

function packetPath() {
  const logger = new RecordingLogger();
  const threads: FakePacketThread[] = [];
  const closed: number[] = [];
  const path = new PacketPath({
    port: 8285,
    offload: true,
    networks: [parsePrefix("10.5.0.0/16")],
    ownSubnets: [parsePrefix("10.5.1.0/24")],
    ownAddresses: [],
    acceptFrom: [],
    logger,
    closeDescriptor: (fd) => closed.push(fd),
    startThread: (options) => {
      const thread = new FakePacketThread(options);
      threads.push(thread);
      return thread;
    },
  });
  /** Begins. @returns the thread */
  const begin = () => {
    path.begin();
    const [thread] = threads;
    if (thread === undefined) throw new Error("no thread was started");
    return thread;
  };
  return { path, begin, threads, closed, logger };
}

test("PacketPath starts its thread when the peers are known, so that packets wait until then", () => {
  const { path, begin, threads } = packetPath();
  path.setSocket(SOCKET);
  path.setTun(TUN);
  path.setPeers([PEER]);
  expect(threads).toEqual([]);
  const { options, orders } = begin();
  expect(options).toMatchObject({ port: 8285, isPlain: false, addresses: [parseAddress("10.5.1.0")] });
  expect(orders).toEqual(["forwarding to 1 peers", "socket 8", "tun flannel0"]);
  path.setPeers([]);
  path.setTun({ ...TUN, name: "flannel1" });
  expect(orders.slice(3)).toEqual(["forwarding to 0 peers", "tun flannel1"]);
});

test("PacketPath begins without peers too: the senders of packets are told that there is no way", () => {
  expect(packetPath().begin().orders).toEqual(["forwarding to 0 peers", "socket none", "tun none"]);
});

test("PacketPath closes what no thread has had", async () => {
  const { path, closed } = packetPath();
  path.setSocket(SOCKET);
  path.setTun(TUN);
  path.setTun({ ...TUN, fd: 9 });
  expect(closed).toEqual([7]);
  path.setTun(undefined);
  expect(closed).toEqual([7, 9]);
  await path[Symbol.asyncDispose]();
  expect(closed).toEqual([7, 9, 8]);
});

test("PacketPath leaves to its thread what that has had", async () => {
  const { path, begin, closed } = packetPath();
  path.setSocket(SOCKET);
  path.setTun(TUN);
  const { orders } = begin();
  path.setTun({ ...TUN, fd: 9 });
  await path[Symbol.asyncDispose]();
  expect(orders.at(-1)).toBe("stop");
  expect(closed).toEqual([]);
});

test("PacketPath tells which descriptors to keep, each time they are others", async () => {
  const { signal } = new AbortController();
  const { path } = packetPath();
  path.setSocket(SOCKET);
  path.setTun(TUN);
  expect([...(await path.descriptors({ signal }))]).toEqual([
    ["udp-socket", 8],
    ["udp-tun", 7],
  ]);
  const next = path.descriptors({ signal });
  path.setTun({ ...TUN, fd: 9 });
  expect((await next).get("udp-tun")).toBe(9);
  path.setTun(undefined);
  expect([...(await path.descriptors({ signal })).keys()]).toEqual(["udp-socket"]);
});

test("PacketPath.descriptors() rejects with what its thread failed of, also if that was before", async () => {
  const { signal } = new AbortController();
  const { path, begin } = packetPath();
  const thread = begin();
  const waiting = path.descriptors({ signal });
  thread.fail(new Error("it broke"));
  await expect(waiting).rejects.toThrow("it broke");
  await expect(path.descriptors({ signal })).rejects.toThrow("it broke");
});

test("PacketPath says once what it works with, and again when a part was replaced", () => {
  const { path, logger } = packetPath();
  path.setSocket(SOCKET);
  path.setTun(TUN);
  path.setTun({ ...TUN, offloads: { header: true, checksum: true, tcp: true, udp: false } });
  expect(logger.lines.map(({ fields }) => fields["with"])).toEqual([
    "UDP GSO, UDP GRO",
    "checksum offload, TCP segmentation offload, UDP GSO, UDP GRO",
  ]);
});

test("PacketPath.traffic() counts by peer, from when each came, and all in all", () => {
  const { path, begin } = packetPath();
  const other = { subnet: parsePrefix("10.5.3.0/24"), publicIP: parseAddress("192.0.2.3"), slot: 0 };
  const writer = new CountersWriter(begin().options.counters);
  path.setPeers([PEER]);
  writer.sent(0, 2, 200);
  writer.dropped("no route", 3);
  const { peers, total, drops } = path.traffic();
  const traffic = { sentPackets: 2, sentBytes: 200, receivedPackets: 0, receivedBytes: 0 };
  expect(peers).toEqual([{ publicIP: PEER.publicIP, traffic }]);
  expect(total).toEqual(traffic);
  expect(drops["no route"]).toBe(3);
  path.setPeers([PEER, { ...PEER, subnet: parsePrefix("10.5.4.0/24") }]);
  expect(path.traffic().peers).toEqual([{ publicIP: PEER.publicIP, traffic }]);
  path.setPeers([other]);
  writer.received(0, 1, 50);
  expect(path.traffic().peers).toEqual([
    { publicIP: other.publicIP, traffic: { sentPackets: 0, sentBytes: 0, receivedPackets: 1, receivedBytes: 50 } },
  ]);
  expect(path.traffic().total).toMatchObject({ sentPackets: 2, receivedPackets: 1 });
});
