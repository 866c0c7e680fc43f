import { describe, expect, test } from "vitest";
import { parsePrefix } from "../../ip/prefix.ts";
import { EINTR, EINVAL, EIO, EMSGSIZE, ENOBUFS, EPERM } from "../../kernel/errno.ts";
import type { MemoryMessage } from "../../kernel/memory-packet-ports.ts";
import { ip4, ip6, payload, tcp, udp } from "../../wire/packet/packets.ts";
import { carry, hostAddress, MemoryHost } from "./memory-host.ts";
import { asRead, bare, between, hex, numberOf, small, written } from "./memory-packets.ts";
import { expand, superpacket } from "./superpackets.ts";

describe("Outward", () => {
  test("run() sends equal packets to one peer as one message, whatever else they are", () => {
    const a = new MemoryHost(15, [16, 17]);
    a.send(...Array.from({ length: 200 }, (_, number) => bare(small(15, 16, number))));
    expect(a.socket.sentMessages.map(({ segment, bytes }) => [segment, bytes.length / 70])).toEqual([
      [70, 64],
      [70, 64],
      [70, 64],
      [70, 8],
    ]);
    expect(a.socket.sent.map(({ bytes }) => numberOf(bytes))).toEqual(Array.from({ length: 200 }, (_, n) => n));
  });

  test("run() ends a message with a shorter packet, and begins another with a longer one or for another peer", () => {
    const a = new MemoryHost(15, [16, 17]);
    const sizes = [40, 40, 30, 40, 50, 50];
    a.send(
      ...sizes.map((size, number) => bare(small(15, 16, number, size))),
      ...[6, 7].map((number) => bare(small(15, 17, number, 50))),
      bare(small(15, 16, 8, 50)),
    );
    expect(a.socket.sentMessages.map(({ host, segment, bytes }) => [host & 255, segment, bytes.length])).toEqual([
      [16, 70, 70 + 70 + 60],
      [16, 0, 70],
      [16, 80, 160],
      [17, 80, 160],
      [16, 0, 80],
    ]);
    expect(a.socket.sent.map(({ bytes }) => numberOf(bytes))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  });

  test.each([31, 70, 1024, 1430, 8930])("run() makes no message too large of packets of %i bytes", (size) => {
    const a = new MemoryHost(15, [16]);
    a.send(...Array.from({ length: 140 }, (_, number) => bare(small(15, 16, number, size - 30))));
    a.send(asRead(ip4(tcp({}, payload(64_000)), between(15, 16)), Math.max(64, size - 40)));
    const messages = a.socket.sentMessages.map(({ segment, bytes }) => ({
      datagrams: Math.ceil(bytes.length / (segment || bytes.length)),
      bytes: bytes.length,
    }));
    expect(Math.max(...messages.map(({ datagrams }) => datagrams))).toBeLessThanOrEqual(64);
    expect(Math.max(...messages.map(({ bytes }) => bytes))).toBeLessThanOrEqual(65_507);
    expect(messages[0]?.datagrams).toBe(Math.min(64, Math.floor(65_507 / size)));
    expect(a.drops).toEqual({});
  });

  test.each([
    ["segments", true],
    ["does not segment", false],
  ])("run() has room for a superpacket of a thousand segments where the socket %s", (_, segments) => {
    const [a, b] = [new MemoryHost(15, [16]), new MemoryHost(16, [15])];
    a.outward.sender.segments = segments;
    const make = (sequence: number, ttl: number) =>
      ip4(tcp({ sequence }, payload(65_000)), { ...between(15, 16), ttl, id: sequence & 0xffff });
    const starts = [1, 65_001, 130_001];
    // One before it, so that it does not begin an empty batch.
    expect(a.send(bare(small(15, 16, 1)), ...starts.map((start) => asRead(make(start, 64), 64)))).toBe("empty");
    carry([a, b]);
    b.receiveMore();
    const wanted = starts.flatMap((start) => expand(superpacket(make(start, 62), 64)));
    expect(hex(written(b).filter((packet) => packet[9] === 6))).toEqual(hex(wanted));
  });

  test.each([0, 1, 3, 7])(
    "run() loses, doubles and reorders nothing when the socket is full after %i messages",
    (room) => {
      const a = new MemoryHost(15, [16, 17]);
      // Two peers in turn: each packet is a message.
      const packets = Array.from({ length: 300 }, (_, number) => bare(small(15, 16 + (number & 1), number)));
      a.tun.toRead.push(...packets);
      a.socket.room = room;
      let rounds = 0;
      while (a.sendMore() === "blocked") {
        expect(a.outward.run()).toBe("blocked");
        expect(a.socket.room).toBe(0);
        a.socket.room = 5;
        rounds++;
      }
      expect(rounds).toBeGreaterThan(50);
      expect(a.socket.sent.map(({ bytes }) => numberOf(bytes))).toEqual(Array.from({ length: 300 }, (_, n) => n));
      expect(a.drops).toEqual({});
    },
  );

  test("run() loses, doubles and reorders nothing when the socket is full while a refused message goes out datagram by datagram", () => {
    const a = new MemoryHost(15, [16]);
    a.tun.toRead.push(...Array.from({ length: 100 }, (_, number) => bare(small(15, 16, number))));
    a.socket.judge = ({ segment }) => (segment > 0 ? -EMSGSIZE : 0);
    a.socket.room = 0;
    while (a.sendMore() === "blocked") a.socket.room = 3;
    expect(a.socket.sent.map(({ bytes }) => numberOf(bytes))).toEqual(Array.from({ length: 100 }, (_, n) => n));
    expect(a.drops).toEqual({});
  });

  test("finish() sends what is in hand when the socket takes it again, and reads no more", () => {
    const host = new MemoryHost(15, [16]);
    host.socket.room = 0;
    expect(host.send(bare(small(15, 16, 1)))).toBe("blocked");
    host.tun.toRead.push(bare(small(15, 16, 2)));
    expect(host.outward.finish()).toBe(false);
    host.socket.room = 9;
    expect(host.outward.finish()).toBe(true);
    expect(host.socket.sent.map(({ bytes }) => numberOf(bytes))).toEqual([1]);
    expect(host.tun.toRead.length).toBe(1);
  });

  test("run() tries again what a signal interrupted", () => {
    const a = new MemoryHost(15, [16]);
    a.socket.refusals.push(-EINTR, -EINTR);
    a.tun.toRead.push(-EINTR);
    a.send(bare(small(15, 16, 1)));
    expect(a.socket.sent).toHaveLength(1);
    expect(a.drops).toEqual({});
  });

  test("run() sends datagrams one by one, and says so once, where the device cannot segment", () => {
    const a = new MemoryHost(15, [16]);
    a.socket.judge = ({ segment }) => (segment > 0 ? -EIO : 0);
    const whole = ip4(tcp({}, payload(60_000)), { ...between(15, 16), ttl: 64 });
    a.send(asRead(whole, 1400), ...Array.from({ length: 10 }, (_, number) => bare(small(15, 16, number))));
    a.send(asRead(whole, 1400));
    const once = expand(superpacket(ip4(tcp({}, payload(60_000)), { ...between(15, 16), ttl: 63 }), 1400));
    const sent = a.socket.sent.map(({ bytes }) => bytes);
    expect(hex(sent.slice(0, 43))).toEqual(hex(once));
    expect(sent.slice(43, 53).map(numberOf)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(hex(sent.slice(53))).toEqual(hex(once));
    expect(a.degraded).toHaveLength(1);
    expect(a.drops).toEqual({});
  });

  test.each([
    ["EMSGSIZE", EMSGSIZE],
    ["EINVAL", EINVAL],
  ])("run() splits just the message that the kernel answers with %s", (_, errno) => {
    const a = new MemoryHost(15, [16, 17]);
    const isNarrow = ({ host, segment }: MemoryMessage) => host === hostAddress(17) && segment > 0;
    a.socket.judge = (message) => (isNarrow(message) ? -errno : 0);
    for (const to of [16, 17, 16])
      a.tun.toRead.push(...Array.from({ length: 5 }, (_unused, number) => bare(small(15, to, number))));
    a.sendMore();
    expect(a.socket.sentMessages.map(({ host, bytes }) => [host & 255, bytes.length / 70])).toEqual([
      [16, 5],
      [17, 1],
      [17, 1],
      [17, 1],
      [17, 1],
      [17, 1],
      [16, 5],
    ]);
    expect(a.socket.sent.map(({ bytes }) => numberOf(bytes))).toEqual([0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
    expect(a.outward.sender.segments).toBe(true);
    expect([a.drops, a.degraded]).toEqual([{}, []]);
  });

  test("run() counts what is too big for the path by datagrams", () => {
    const a = new MemoryHost(15, [16]);
    a.socket.judge = ({ bytes }) => (bytes.length > 1000 ? -EMSGSIZE : 0);
    const sizes = [1300, 1300, 40, 1300];
    a.send(...sizes.map((size, number) => bare(small(15, 16, number, size))));
    expect(a.socket.sent.map(({ bytes }) => numberOf(bytes))).toEqual([2]);
    expect(a.drops).toEqual({ "too big": 3 });
  });

  test.each([
    ["EPERM", EPERM],
    ["ENOBUFS", ENOBUFS],
  ])("run() drops a message that the kernel answers with %s, counts its datagrams, and sends the rest", (_, errno) => {
    const a = new MemoryHost(15, [16, 17]);
    a.socket.judge = ({ host }) => (host === hostAddress(17) ? -errno : 0);
    for (const to of [16, 17, 16])
      a.tun.toRead.push(...Array.from({ length: 4 }, (_unused, number) => bare(small(15, to, number))));
    a.sendMore();
    expect(a.socket.sent).toHaveLength(8);
    expect(a.drops).toEqual({ "send failed": 4 });
  });

  test("run() drops and counts where there is no socket", () => {
    const a = new MemoryHost(15, [16]);
    a.outward.sender.socket = undefined;
    expect(a.send(bare(small(15, 16, 1)), bare(small(15, 16, 2)))).toBe("empty");
    expect(a.drops).toEqual({ "send failed": 2 });
  });

  test("run() tells the sender of a packet without route by ICMP, and counts it", () => {
    const a = new MemoryHost(15, [16]);
    a.send(bare(small(15, 99, 1)), bare(small(15, 15, 2)), bare(small(15, 16, 3)));
    expect(a.socket.sent).toHaveLength(1);
    expect(a.raw.sent.map((bytes) => [bytes[9], bytes[20], bytes[21], bytes.slice(16, 20).join(".")])).toEqual([
      [1, 3, 0, "10.5.15.1"],
      [1, 3, 0, "10.5.15.1"],
    ]);
    expect(a.raw.sent[0]?.slice(28)).toEqual(small(15, 99, 1));
    expect(a.drops).toEqual({ "no route": 2 });
  });

  test("run() does not take for a missing route what is of a family that the overlay has not", () => {
    const a = new MemoryHost(15, [16], { table: { networks: [parsePrefix("10.5.0.0/16")], peers: [] } });
    // As every device sends that is brought up: a router solicitation.
    const everyRouter = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    a.send(bare(ip6(udp([]), { destination: everyRouter })), bare(small(15, 16, 1)));
    expect(a.drops).toEqual({ "family not in use": 1, "no route": 1 });
    expect(a.raw.sent).toHaveLength(1);
  });

  test("run() lets no packet out whose TTL has come to its end, and says so by ICMP", () => {
    const a = new MemoryHost(15, [16]);
    a.send(...[0, 1, 2].map((ttl) => bare(small(15, 16, ttl, 40, ttl))));
    expect(a.socket.sent.map(({ bytes }) => bytes[8])).toEqual([1]);
    expect(a.raw.sent.map((bytes) => [bytes[20], bytes[21], bytes[28 + 8]])).toEqual([
      [11, 0, 0],
      [11, 0, 1],
    ]);
    expect(a.drops).toEqual({ "ttl exceeded": 2 });
  });

  test("run() counts what is no packet, and goes on", () => {
    const a = new MemoryHost(15, [16]);
    const long = bare(small(15, 16, 1));
    long[10 + 3] = 255; // longer than it is
    const wrongKind = asRead(ip4(udp(payload(3000)), between(15, 16)), 1000);
    wrongKind[1] = 1; // TCP
    a.send(new Uint8Array(10), new Uint8Array(3), bare(new Uint8Array(40)), long, wrongKind, bare(small(15, 16, 7)));
    expect(a.socket.sent.map(({ bytes }) => numberOf(bytes))).toEqual([7]);
    expect(a.drops).toEqual({ "bad packet": 5 });
  });

  test("run() is gone when the device is, not for an error about one packet", () => {
    const a = new MemoryHost(15, [16]);
    a.tun.toRead.push(-EINVAL); // the kernel has a packet that it cannot describe by a virtio header, and drops it
    expect(a.send(bare(small(15, 16, 1)))).toBe("empty");
    expect(a.socket.sent).toHaveLength(1);
    a.tun.isGone = true;
    expect(a.outward.run()).toBe("gone");
    a.outward.setTun(undefined, false);
    expect(a.outward.run()).toBe("gone");
  });

  test("run() is gone with a device that does nothing but fail", () => {
    const a = new MemoryHost(15, [16]);
    a.tun.toRead.push(...Array.from({ length: 100_000 }, () => -EIO));
    expect(a.sendMore()).toBe("gone");
  });

  test("run() sends what it holds before the device goes", () => {
    const a = new MemoryHost(15, [16]);
    a.socket.room = 0;
    expect(a.send(bare(small(15, 16, 1)))).toBe("blocked");
    a.tun.isGone = true;
    a.outward.setTun(undefined, false);
    a.socket.room = 9;
    expect(a.outward.run()).toBe("gone");
    expect(a.socket.sent).toHaveLength(1);
  });
});

test("Outward sends a packet that comes alone before it asks for more, and packets that come together as one message", () => {
  const host = new MemoryHost(15, [16]);
  const { tun, socket } = host;
  const events: string[] = [];
  host.outward.setTun(
    {
      read(at, length) {
        events.push("read");
        return tun.read(at, length);
      },
      write: (pieces) => tun.write(pieces),
    },
    true,
  );
  host.outward.sender.socket = {
    receive: (batch) => socket.receive(batch),
    send(batch, from) {
      events.push(`send ${batch.count - from}`);
      return socket.send(batch, from);
    },
    dropped: () => 0,
    limitSources: () => 0,
  };
  const packets = (count: number) => Array.from({ length: count }, (_, id) => bare(small(15, 16, id)));
  const seen = (count: number) => {
    host.send(...packets(count));
    return events.splice(0).join(", ");
  };
  expect(seen(1)).toBe("read, read, send 1");
  expect(seen(1)).toBe("read, send 1, read");
  expect(seen(3)).toBe("read, send 1, read, read, read, send 1"); // the second message is two packets
  expect(seen(3)).toBe("read, read, read, read, send 1");
  expect(seen(1)).toBe("read, read, send 1");
  expect(seen(1)).toBe("read, send 1, read");
});
