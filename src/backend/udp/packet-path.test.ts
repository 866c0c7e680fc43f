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
  const path = new PacketPath({
    port: 8285,
    offload: true,
    networks: [parsePrefix("10.5.0.0/16")],
    ownSubnets: [parsePrefix("10.5.1.0/24")],
    ownAddresses: [],
    acceptFrom: [],
    logger,
    startThread: (options) => {
      const thread = new FakePacketThread(options);
      threads.push(thread);
      return thread;
    },
  });
  const [thread] = threads;
  if (thread === undefined) throw new Error("no thread was started");
  return { path, thread, logger };
}

test("PacketPath lets packets wait until the peers are known", () => {
  const { path, thread } = packetPath();
  path.setSocket(SOCKET);
  path.setTun(TUN);
  path.setPeers([PEER]);
  expect(thread.orders).toEqual(["socket 8", "tun flannel0"]);
  path.begin();
  path.setPeers([]);
  expect(thread.orders.slice(2)).toEqual(["forwarding to 1 peers", "forwarding to 0 peers"]);
});

test("PacketPath begins without peers too: the senders of packets are told that there is no way", () => {
  const { path, thread } = packetPath();
  path.begin();
  expect(thread.orders).toEqual(["forwarding to 0 peers"]);
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
  const { path, thread } = packetPath();
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

test("PacketPath ends its thread with itself", async () => {
  const { path, thread } = packetPath();
  await path[Symbol.asyncDispose]();
  expect(thread.orders).toEqual(["stop"]);
});

test("PacketPath.traffic() counts by peer, from when each came, and all in all", () => {
  const { path, thread } = packetPath();
  const other = { subnet: parsePrefix("10.5.3.0/24"), publicIP: parseAddress("192.0.2.3"), slot: 0 };
  const writer = new CountersWriter(thread.counters);
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
