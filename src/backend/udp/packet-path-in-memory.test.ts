import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parsePrefix } from "../../ip/prefix.ts";
import { EINTR, EINVAL, EIO, EMSGSIZE, ENOBUFS, EPERM } from "../../kernel/errno.ts";
import type { MemoryMessage } from "../../kernel/memory-packet-ports.ts";
import { ip4, ip6, payload, tcp, udp } from "../../wire/packet/packets.ts";
import { ALL_MERGES, carry, hostAddress, MemoryHost } from "./memory-host.ts";
import { expand, join, superpacket, virtio } from "./superpackets.ts";

const PLAIN = virtio(0, 0, 0, 0, 0);
/** Compared quicker than arrays. */
const hex = (packets: readonly Uint8Array[]) => packets.map((bytes) => Buffer.from(bytes).toString("hex"));
const bare = (packet: Uint8Array) => join([PLAIN, packet]);
const asRead = (whole: Uint8Array, gsoSize: number) => {
  const { header, packet } = superpacket(whole, gsoSize);
  return join([header, packet]);
};

/** What the kernel of a host was given, each packet whole, without their hop between. */
const written = (host: MemoryHost) =>
  host.tun.written.flatMap((bytes) => expand({ header: bytes.subarray(0, 10), packet: bytes.subarray(10) }));

const between = (from: number, to: number) => ({ source: `10.5.${from}.1`, destination: `10.5.${to}.2` });

/** A packet of this host to another, told apart by its number. */
const small = (from: number, to: number, number: number, size = 40, ttl = 64) =>
  ip4(udp([number >> 8, number & 255, ...payload(size, number)]), { ...between(from, to), id: number, ttl });
const numberOf = (packet: Uint8Array) => (packet[28] ?? 0) * 256 + (packet[29] ?? 0);

describe("Outward and Inward", () => {
  test.each([
    ["the lower half of addresses passes 2^32 among the batches", undefined],
    ["the lower half of addresses has its highest bit set", 0x7fff_8000_0000],
    ["addresses are small", 0x10_0000],
  ])("carry superpackets to the other end's kernel, two hops older; %s", (_, base) => {
    const options = base === undefined ? {} : { base };
    const [a, b] = [new MemoryHost(15, [16], options), new MemoryHost(16, [15], options)];
    const stream = payload(60_000);
    const whole = ip4(tcp({ sequence: 0xffff_0000, flags: 0x18 }, stream), { ...between(15, 16), ttl: 64 });
    const six = ip6(tcp({ flags: 0x10 }, stream), { hopLimit: 64 });
    expect(a.send(asRead(whole, 1400), asRead(six, 1380))).toBe("empty");
    carry([a, b]);
    b.receiveMore();
    const older = [
      ip4(tcp({ sequence: 0xffff_0000, flags: 0x18 }, stream), { ...between(15, 16), ttl: 62 }),
      ip6(tcp({ flags: 0x10 }, stream), { hopLimit: 62 }),
    ];
    expect(b.tun.written.length).toBe(2);
    expect(b.tun.written.map((bytes) => bytes.subarray(10).length)).toEqual([whole.length, six.length]);
    expect(hex(written(b))).toEqual(
      hex([...expand(superpacket(older[0] ?? whole, 1400)), ...expand(superpacket(older[1] ?? six, 1380))]),
    );
    expect([a.drops, b.drops]).toEqual([{}, {}]);
    expect(a.counters.peer(0)).toMatchObject({ sentPackets: 43 + 44 });
    expect(b.counters.peer(0)).toMatchObject({
      receivedPackets: 43 + 44,
      receivedBytes: a.counters.peer(0).sentBytes,
    });
    expect([...a.socket.ports]).toEqual([8285]);
  });

  test("carry any mixture of packets among four hosts: each arrives once, as it was, in its flow's order", () => {
    const numbers = [15, 16, 17, 18];
    const packets = fc.array(
      fc.record({
        to: fc.constantFrom(16, 17, 18),
        size: fc.oneof(fc.nat(1400), fc.constantFrom(0, 1, 40, 1400)),
        segments: fc.constantFrom(0, 0, 0, 2, 45, 100),
        mss: fc.constantFrom(64, 536, 1400),
        ttl: fc.constantFrom(3, 64, 255),
        isTcp: fc.boolean(),
      }),
      { maxLength: 60 },
    );
    // What the steps of offloads leave a device.
    const merges = fc.constantFrom(
      ALL_MERGES,
      { ...ALL_MERGES, udp4: false, udp6: false },
      { tcp4: false, tcp6: false, udp4: false, udp6: false },
    );
    fc.assert(
      fc.property(
        packets,
        fc.boolean(),
        fc.boolean(),
        fc.boolean(),
        merges,
        (list, offload, segments, merged, takes) => {
          const hosts = numbers.map(
            (number) =>
              new MemoryHost(
                number,
                numbers.filter((other) => other !== number),
                { offload },
              ),
          );
          const [a] = hosts;
          if (a === undefined) throw new Error("no host");
          a.outward.sender.segments = segments;
          if (offload) for (const { inward, tun } of hosts) inward.setTun(tun, true, takes);
          const expected = new Map<number, Uint8Array[]>(numbers.map((number) => [number, []]));
          for (const [id, { to, size, segments: count, mss, ttl, isTcp }] of list.entries()) {
            const bytes = payload(count === 0 || !offload ? size : Math.min(count * mss + size, 60_000), id);
            const make = (left: number) =>
              ip4(isTcp ? tcp({ sequence: id * 100_000 }, bytes) : udp(bytes), {
                ...between(15, to),
                id: id * 200,
                ttl: left,
              });
            const isSuper = offload && count > 0;
            const gso = isTcp ? mss : Math.max(mss, Math.ceil(bytes.length / 64));
            a.tun.toRead.push(!offload ? make(ttl) : isSuper ? asRead(make(ttl), gso) : bare(make(ttl)));
            expected.get(to)?.push(...(isSuper ? expand(superpacket(make(ttl - 2), gso)) : [make(ttl - 2)]));
          }
          expect(a.sendMore()).toBe("empty");
          carry(hosts, { merged });
          for (const host of hosts.slice(1)) {
            host.receiveMore();
            const there = offload ? written(host) : host.tun.written;
            const wanted = expected.get(host.address & 255) ?? [];
            const flow = (protocol: number) => (packet: Uint8Array) => packet[9] === protocol;
            for (const protocol of [6, 17])
              expect(hex(there.filter(flow(protocol)))).toEqual(hex(wanted.filter(flow(protocol))));
            expect(host.drops).toEqual({});
            const kinds = host.tun.written.map((bytes) => (offload ? bytes[1] : 0));
            if (!takes.tcp4) expect(kinds).not.toContain(1);
            if (!takes.udp4) expect(kinds).not.toContain(5);
          }
        },
      ),
      { seed: 2026, numRuns: 25 },
    );
  });
});

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

describe("Inward", () => {
  test("run() counts every datagram of strangers, merged or not, and shows one of each message", () => {
    const b = new MemoryHost(16, [15]);
    const bytes = join([1, 2, 3].map((number) => small(15, 16, number)));
    b.socket.toReceive.push({ host: hostAddress(99), bytes, segment: 70 });
    b.receive(hostAddress(98), small(15, 16, 4));
    expect(b.tun.written).toEqual([]);
    expect(b.drops).toEqual({ stranger: 4 });
    expect(b.sampled).toEqual(["stranger", "stranger"]);
  });

  test("run() lets in what a peer may send and nothing else", () => {
    const b = new MemoryHost(16, [15, 17]);
    b.receive(
      hostAddress(15),
      small(15, 16, 1),
      small(17, 16, 2), // another peer's
      small(16, 16, 3), // ours
      small(99, 16, 4), // nobody's
      ip4(udp([]), { source: "192.0.2.16", destination: "10.5.16.2" }),
      ip4(udp([]), { source: "127.0.0.1", destination: "10.5.16.2" }),
      ip4(udp([]), { source: "10.5.15.1", destination: "127.0.0.1" }),
      ip4(udp([0, 9]), { source: "203.0.113.1", destination: "10.5.16.2" }),
      new Uint8Array(),
      Uint8Array.of(0x45),
      payload(100),
    );
    expect(written(b).map(numberOf)).toEqual([1, 9]);
    expect(b.drops).toEqual({
      "bad packet": 3,
      "foreign source": 2,
      "own source": 2,
      "impossible source": 1,
      "loopback destination": 1,
    });
  });

  test("run() lets nobody continue another's flow behind a packet that is refused", () => {
    const host = new MemoryHost(15, [16, 17]);
    const segment = (number: number) =>
      ip4(tcp({ sequence: number * 100, flags: 0x10 }, payload(100, number)), {
        ...between(16, 15),
        id: number,
        ttl: 62,
      });
    const merged = (...datagrams: readonly Uint8Array[]) => new Uint8Array(Buffer.concat(datagrams));
    const size = segment(1).length;
    host.socket.toReceive.push(
      { host: hostAddress(16), bytes: merged(segment(1), segment(2)), segment: size },
      { host: hostAddress(17), bytes: merged(segment(8), segment(3), segment(4)), segment: size },
    );
    host.receiveMore();
    expect(host.drops).toEqual({ "foreign source": 3 });
    expect(host.tun.written.length).toBe(1);
    expect(host.tun.written[0]?.length).toBe(10 + size + 100);
  });

  test("run() lets no packet in whose TTL has come to its end, and says so by ICMP", () => {
    const b = new MemoryHost(16, [15]);
    b.receive(hostAddress(15), ...[0, 1, 2].map((ttl) => small(15, 16, ttl, 40, ttl)));
    expect(written(b).map((packet) => packet[8])).toEqual([1]);
    expect(b.raw.sent.map((bytes) => [bytes[20], bytes.slice(16, 20).join(".")])).toEqual([
      [11, "10.5.15.1"],
      [11, "10.5.15.1"],
    ]);
    expect(b.drops).toEqual({ "ttl exceeded": 2 });
  });

  test("run() counts by packets what the device refuses, and goes on", () => {
    const b = new MemoryHost(16, [15]);
    const parts = expand(superpacket(ip4(tcp({}, payload(4000)), between(15, 16)), 1000));
    b.tun.refusals.push(-EINVAL, -EIO);
    b.receive(hostAddress(15), ...parts, ip4(udp(payload(40)), between(15, 16)), ip6(udp(payload(40))));
    expect(written(b)).toHaveLength(1);
    expect(b.drops).toEqual({ "device refused": 4 + 1 });
  });

  test("run() drops and counts where there is no device", () => {
    const b = new MemoryHost(16, [15]);
    b.inward.setTun(undefined, false, { tcp4: false, tcp6: false, udp4: false, udp6: false });
    expect(b.receive(hostAddress(15), small(15, 16, 1))).toBe("empty");
    expect(b.drops).toEqual({ "device refused": 1 });
  });

  test("run() takes up to what a batch holds at once, and says whether there may be more", () => {
    const b = new MemoryHost(16, [15]);
    b.socket.toReceive.push(
      ...Array.from({ length: 40 }, (_, n) => ({ host: hostAddress(15), bytes: small(15, 16, n), segment: 0 })),
    );
    expect(b.inward.run()).toBe("more");
    b.receiveMore();
    expect(written(b).map(numberOf)).toEqual(Array.from({ length: 40 }, (_, n) => n));
    expect(b.inward.run()).toBe("empty");
  });

  test("run() goes on after errors, but not for ever", () => {
    const b = new MemoryHost(16, [15]);
    b.socket.failures.push(-EIO, -EINTR, -EIO);
    expect(b.receive(hostAddress(15), small(15, 16, 1))).toBe("empty");
    expect(written(b)).toHaveLength(1);
    b.socket.failures.push(...Array.from({ length: 5000 }, () => -EIO));
    expect(b.receiveMore()).toBe("gone");
    b.inward.socket = undefined;
    expect(b.inward.run()).toBe("gone");
    expect(b.inward.run()).not.toBe("empty");
  });

  test("run() survives hostile datagrams: the device gets only packets whose lengths agree", () => {
    const valid = [
      small(15, 16, 1),
      ip4(tcp({}, payload(900)), between(15, 16)),
      ip4(tcp({ options: [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8] }, payload(900)), {
        ...between(15, 16),
        options: [1, 1, 1, 0],
      }),
      ip6(tcp({}, payload(900))),
      ip6(udp(payload(300)), { extensions: [17, 0, 1, 4, 0, 0, 0, 0], firstExtension: 0 }),
    ];
    const mutated = fc
      .record({
        packet: fc.constantFrom(...valid),
        changes: fc.array(fc.record({ at: fc.nat(60), byte: fc.nat(255) }), { maxLength: 2 }),
        cut: fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.nat(200) }),
        tail: fc.uint8Array({ maxLength: 30 }),
      })
      .map(({ packet, changes, cut, tail }) => {
        const bytes = join([packet.slice(0, cut ?? packet.length), tail]);
        for (const { at, byte } of changes) if (at < bytes.length) bytes[at] = byte;
        return bytes;
      });
    const message = fc.record({
      host: fc.constantFrom(hostAddress(15), hostAddress(15), hostAddress(99), 0, 0xffff_ffff),
      bytes: fc.oneof(
        { weight: 1, arbitrary: fc.uint8Array({ maxLength: 80 }) },
        { weight: 4, arbitrary: mutated },
        { weight: 3, arbitrary: fc.array(mutated, { maxLength: 5 }).map(join) },
        { weight: 3, arbitrary: fc.nat(40).map((count) => join(Array(count).fill(valid[1]))) },
      ),
      segment: fc.oneof(
        { weight: 6, arbitrary: fc.constant(0) },
        { weight: 4, arbitrary: fc.constant(940) },
        { weight: 1, arbitrary: fc.nat(1500) },
        { weight: 1, arbitrary: fc.constantFrom(1, 20, 65_535) },
      ),
    });
    const hosts = [true, false].map((offload) => new MemoryHost(16, [15], { offload }));
    let count = 0;
    fc.assert(
      fc.property(fc.array(message, { maxLength: 30 }), (messages) => {
        for (const host of hosts) {
          host.socket.toReceive.push(...messages);
          expect(host.receiveMore()).toBe("empty");
          expect(host.socket.toReceive).toEqual([]);
          for (const bytes of host.tun.written.splice(0)) {
            const packet = host === hosts[0] ? bytes.subarray(10) : bytes;
            count++;
            const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
            const version = view.getUint8(0) >> 4;
            expect([4, 6]).toContain(version);
            expect(version === 4 ? view.getUint16(2) : view.getUint16(4) + 40).toBe(packet.length);
            if (version === 4) expect((view.getUint8(0) & 15) * 4).toBeLessThanOrEqual(packet.length);
            if (host === hosts[0] && bytes[1] !== 0) {
              const size = (bytes[4] ?? 0) + 256 * (bytes[5] ?? 0);
              expect(size).toBeGreaterThan(0);
              expect(packet.length).toBeGreaterThan(size);
            }
          }
        }
      }),
      { seed: 8285, numRuns: 120 },
    );
    expect(count).toBeGreaterThan(500);
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

test("Inward counts what the socket's queue could not hold, but not while the kernel drops strangers' packets too", () => {
  const host = new MemoryHost(15, [16]);
  const full = Array.from({ length: 100 }, (_, id) => small(16, 15, id));
  const [peer, stranger] = [hostAddress(16), hostAddress(99)];
  host.socket.lost = 7;
  host.receive(peer, ...full);
  expect(host.drops).toEqual({ "queue full": 7 });
  host.receive(peer, ...full);
  expect(host.drops).toEqual({ "queue full": 7 });
  host.receive(stranger, ...Array.from({ length: 10 }, () => full).flat());
  expect(host.guard.isUp).toBe(true);
  host.socket.lost += 100_000;
  host.receive(peer, ...full);
  host.now += 10_000;
  host.guard.turn(true);
  host.now += 10_000;
  host.guard.turn(true);
  expect(host.guard.isUp).toBe(false);
  host.socket.lost += 1;
  host.receive(peer, ...full);
  host.socket.lost += 5;
  host.receive(peer, ...full);
  expect(host.drops["queue full"]).toBe(12);
});
