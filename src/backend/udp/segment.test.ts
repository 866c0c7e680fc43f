import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Arena } from "../../lib/arena.ts";
import { Checksum } from "../../wire/packet/checksum.ts";
import { IpPacket, PacketFault } from "../../wire/packet/ip-packet.ts";
import { ip4, ip6, payload, plainChecksum, tcp, u16, udp } from "../../wire/packet/packets.ts";
import { VirtioHeader } from "../../wire/packet/virtio-header.ts";
import { MAX_SEGMENTS, Segmenter, SegmentFault } from "./segment.ts";
import { Collector, expand, join, readCaptured, superpacket, type TunPacket, virtio } from "./superpackets.ts";

const ROOM = 70_000;
const CANARY = 0xc5;
const arena = new Arena(1 << 20);
const checksum = new Checksum(arena);
const before = arena.reserve(256);
const region = arena.reserve(ROOM);
const segmenter = new Segmenter(arena, checksum);
const after = arena.reserve(256);
const packet = new IpPacket(arena);
const header = new VirtioHeader();
const collector = new Collector(arena);

/** Puts it at an odd place, if asked, and segments it. */
function segment(tun: TunPacket, misalign = 0): SegmentFault {
  const at = region + misalign;
  arena.bytes.set(tun.packet, at);
  header.read(new DataView(tun.header.buffer), 0);
  expect(packet.parse(at, tun.packet.length)).toBe(PacketFault.none);
  segmenter.clear();
  return segmenter.segment(packet, header, collector);
}

function isIntact(at: number, length: number): boolean {
  return arena.bytes.subarray(at, at + length).every((byte) => byte === CANARY);
}

function* datagrams(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += segmenter.segmentSize) yield bytes.slice(at, at + segmenter.segmentSize);
}

const flags = fc.constantFrom(0x10, 0x18, 0x19, 0x11, 0x90, 0xd8, 0x58);
const transport = fc.oneof(
  fc
    .record({
      flags,
      sequence: fc.oneof(fc.constantFrom(0, 0xffff_ffff, 0xffff_f000, 0x7fff_ffff), fc.nat(0xffff_ffff)),
      options: fc.constantFrom([], [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8], Array<number>(40).fill(1)),
    })
    .map((fields) => (bytes: Uint8Array) => tcp(fields, bytes)),
  fc.constant((bytes: Uint8Array) => udp(bytes)),
);
const packaging = fc.oneof(
  fc
    .record({
      id: fc.constantFrom(0, 1, 0xfffe, 0x1234),
      fragment: fc.constantFrom(0, 0x4000),
      tos: fc.nat(255),
      options: fc.constantFrom([], [1, 1, 1, 0]),
    })
    .map((fields) => (of: ReturnType<typeof tcp>) => ip4(of, fields)),
  fc
    .record({ trafficClass: fc.nat(255), flowLabel: fc.nat(0xf_ffff) })
    .map((fields) => (of: ReturnType<typeof tcp>) => ip6(of, fields)),
);

describe("superpackets", () => {
  test("Segmenter makes of captured packets what the kernel made of them", () => {
    const captured = readCaptured();
    for (const { name, segments, ...tun } of captured) {
      arena.bytes.set(tun.packet, region);
      packet.parse(region, tun.packet.length);
      packet.decrementTtl(); // as the kernel did
      expect(segment({ ...tun, packet: arena.bytes.slice(region, packet.end) }), name).toBe(SegmentFault.none);
      expect([...datagrams(collector.takeBytes())], name).toEqual(segments);
    }
    expect(captured.filter(({ segments }) => segments.length > 1).length).toBeGreaterThan(3);
  });

  test("Segmenter makes the packets that slow and obvious segmentation makes", () => {
    fc.assert(
      fc.property(
        transport,
        packaging,
        fc.oneof({ weight: 8, arbitrary: fc.integer({ min: 1, max: 600 }) }, fc.integer({ min: 1, max: 9000 })),
        fc.integer({ min: 1, max: 12 }),
        fc.nat(9000),
        fc.nat(3),
        (transport, packaging, size, full, rest, misalign) => {
          const length = Math.min(full * size + (rest % size), 40_000);
          const tun = superpacket(packaging(transport(payload(length, length))), size);
          expect(segment(tun, misalign)).toBe(SegmentFault.none);
          const expected = expand(tun);
          const made = Buffer.from(collector.takeBytes());
          expect(segmenter.count).toBe(expected.length);
          expect(segmenter.totalBytes).toBe(made.length);
          expect(segmenter.lastSize).toBe(expected.at(-1)?.length);
          expect(made.equals(join(expected))).toBe(true);
          expect([...datagrams(made)].map((bytes) => bytes.length)).toEqual(expected.map((bytes) => bytes.length));
        },
      ),
      { numRuns: 120 },
    );
  });

  test("Segmenter takes the largest superpacket", () => {
    const tun = superpacket(ip4(tcp({}, payload(65_535 - 40))), 1380);
    expect(segment(tun)).toBe(SegmentFault.none);
    expect(segmenter).toMatchObject({ count: 48, headerLength: 40, segmentSize: 1420, lastSize: 40 + 635 });
    expect(collector.takeBytes()).toEqual(join(expand(tun)));
  });

  test("Segmenter names header and payload in turn, and leaves payload where it is", () => {
    const pieces: [number, number][] = [];
    arena.bytes.set(ip4(tcp({}, payload(250))), region);
    packet.parse(region, 290);
    header.read(new DataView(virtio(1, 1, 100, 20, 16).buffer), 0);
    expect(segmenter.segment(packet, header, { piece: (at, length) => pieces.push([at, length]) })).toBe(0);
    expect(pieces.map(([, length]) => length)).toEqual([40, 100, 40, 100, 40, 50]);
    expect([1, 3, 5].map((index) => (pieces[index]?.[0] ?? 0) - region)).toEqual([40, 140, 240]);
  });

  test("Segmenter gives UDP no checksum of 0", () => {
    const sum = plainChecksum(ip4(udp([0, 0, 1, 2])).subarray(26, 28)); // what makes the second datagram's checksum 0
    const bytes = [9, 9, 9, 9, ...u16(0xffff - sum), 1, 2];
    const tun = superpacket(ip4(udp(bytes)), 4);
    expect(segment(tun)).toBe(SegmentFault.none);
    const [, second] = datagrams(collector.takeBytes());
    expect(second?.subarray(26, 28)).toEqual(Uint8Array.of(0xff, 0xff));
  });

  test("Segmenter computes all where the packet has a whole checksum, as after GRO by a network card", () => {
    const whole = ip6(tcp({}, payload(300)));
    const { packet: partial, header: asked } = superpacket(whole, 100);
    expect(segment({ packet: whole, header: virtio(2, 4, 100, 0, 0) })).toBe(SegmentFault.none);
    expect(collector.takeBytes()).toEqual(join(expand({ packet: partial, header: asked })));
  });

  test("Segmenter keeps the kernel's pseudo header, as where a routing header hides the last destination", () => {
    const routing = [6, 2, 4, 1, 0, 0, 0, 0, ...Array.from(payload(16, 5))];
    const last = routing.slice(8);
    const build = (bytes: Uint8Array, sequence: number) => {
      const transport = tcp({ sequence }, bytes);
      const right = ip6(transport, { destination: last }).slice(40); // its checksum is by the last destination
      return Uint8Array.from([...ip6(transport, { extensions: routing, firstExtension: 43 }).slice(0, 64), ...right]);
    };
    const whole = build(payload(100), 1);
    const partial = superpacket(ip6(tcp({}, payload(100)), { destination: last }), 50).packet.subarray(56, 58);
    whole.set(partial, 64 + 16);
    expect(segment({ packet: whole, header: virtio(1, 4, 50, 64, 16) })).toBe(SegmentFault.none);
    const expected = join([build(payload(100).slice(0, 50), 1), build(payload(100).slice(50), 51)]);
    expect(collector.takeBytes()).toEqual(expected);
  });

  test("Segmenter takes ECN's bit for what it is", () => {
    const tun = superpacket(ip4(tcp({ flags: 0x90 }, payload(30))), 10, 0x81);
    expect(segment(tun)).toBe(SegmentFault.none);
    expect([...datagrams(collector.takeBytes())].map((bytes) => bytes[33])).toEqual([0x90, 0x10, 0x10]);
  });
});

describe("single packets", () => {
  test.each([
    ["TCP over IPv4", ip4(tcp({}, payload(99)))],
    ["TCP over IPv6", ip6(tcp({}, payload(3)))],
    ["UDP over IPv4", ip4(udp(payload(10)))],
    ["UDP over IPv6", ip6(udp([]))],
  ])("Segmenter completes the checksum of %s in its place", (_, whole) => {
    const { packet: partial, header: asked } = superpacket(whole, 0, 0);
    expect(segment({ packet: partial, header: asked })).toBe(SegmentFault.none);
    expect(segmenter).toMatchObject({ count: 1, headerLength: 0, segmentSize: whole.length, lastSize: whole.length });
    expect(segmenter.totalBytes).toBe(whole.length);
    expect(collector.pieces.length).toBe(1);
    expect(collector.takeBytes()).toEqual(whole);
  });

  test("Segmenter leaves a superpacket of no more than one segment in one piece", () => {
    const whole = ip4(tcp({ flags: 0x18 }, payload(100)));
    expect(segment(superpacket(whole, 100))).toBe(SegmentFault.none);
    expect([segmenter.count, collector.pieces.length]).toEqual([1, 1]);
    expect(collector.takeBytes()).toEqual(whole);
  });

  test("Segmenter leaves a packet alone that asks for nothing, whatever it is", () => {
    const bytes = ip4({ protocol: 47, bytes: Array.from(payload(9)), checksumAt: 0 }, { fragment: 0x2001 });
    expect(segment({ packet: bytes, header: virtio(0, 0, 0, 0, 0) })).toBe(SegmentFault.none);
    expect(collector.takeBytes()).toEqual(bytes);
  });

  test("Segmenter completes a checksum that ends with the packet, in the middle of a tunnel's packet", () => {
    const bytes = ip4({ protocol: 47, bytes: [...Array.from(payload(7)), 0, 0], checksumAt: 0 });
    const tun = { packet: bytes, header: virtio(1, 0, 0, 23, 4) };
    expect(segment(tun)).toBe(SegmentFault.none);
    expect([collector.takeBytes()]).toEqual(expand(tun));
  });
});

describe("faults", () => {
  const tcp4 = ip4(tcp({}, payload(100)));
  const tcp6 = ip6(tcp({}, payload(100)));
  const udp4 = ip4(udp(payload(100)));
  const part = ip4(tcp({}, payload(100)), { fragment: 0x2000 });
  const longOptions = [17, 22, ...Array<number>(182).fill(0)];
  const longHeader = ip6(udp(payload(100)), {
    extensions: [60, 22, ...longOptions.slice(2), ...longOptions],
    firstExtension: 60,
  });
  test.each([
    ["a checksum that begins in the IP header", tcp4, virtio(1, 0, 0, 19, 16), SegmentFault.badChecksumField],
    ["a checksum field beyond the end", tcp4, virtio(1, 0, 0, 20, 119), SegmentFault.badChecksumField],
    ["a checksum field far away", tcp4, virtio(1, 0, 0, 65_535, 65_535), SegmentFault.badChecksumField],
    ["TCP's checksum elsewhere", tcp4, virtio(1, 1, 50, 20, 6), SegmentFault.badChecksumField],
    ["UDP's checksum elsewhere", udp4, virtio(1, 5, 50, 24, 6), SegmentFault.badChecksumField],
    ["an unknown kind", tcp4, virtio(1, 2, 50, 20, 16), SegmentFault.badKind],
    ["the old kind of UDP", udp4, virtio(1, 3, 50, 20, 6), SegmentFault.badKind],
    ["TCPv4 in IPv6", tcp6, virtio(1, 1, 50, 40, 16), SegmentFault.badKind],
    ["TCPv6 in IPv4", tcp4, virtio(1, 4, 50, 20, 16), SegmentFault.badKind],
    ["TCP's kind with UDP", udp4, virtio(1, 1, 50, 20, 6), SegmentFault.badKind],
    ["TCPv6's kind with UDP", ip6(udp(payload(90))), virtio(1, 4, 50, 40, 6), SegmentFault.badKind],
    ["UDP's kind with TCP", tcp4, virtio(1, 5, 50, 20, 16), SegmentFault.badKind],
    ["a fragment", part, virtio(1, 1, 50, 20, 16), SegmentFault.badKind],
    ["segments of 0 bytes", tcp4, virtio(1, 1, 0, 20, 16), SegmentFault.badSegmentSize],
    [
      "too many segments",
      ip4(tcp({}, payload(MAX_SEGMENTS + 1))),
      virtio(1, 1, 1, 20, 16),
      SegmentFault.tooManySegments,
    ],
    ["a TCP header of 16 bytes", tcp4.with(32, 0x40), virtio(1, 1, 50, 20, 16), SegmentFault.badTransportHeader],
    [
      "a TCP header beyond the end",
      ip4(tcp({}, payload(9))).with(32, 0xf0),
      virtio(1, 1, 50, 20, 16),
      SegmentFault.badTransportHeader,
    ],
    [
      "a cut TCP header",
      ip4({ protocol: 6, bytes: Array<number>(19).fill(0), checksumAt: 16 }),
      virtio(1, 1, 50, 20, 16),
      SegmentFault.badTransportHeader,
    ],
    [
      "a cut UDP header",
      ip4({ protocol: 17, bytes: [1, 2, 3, 4, 5, 6], checksumAt: 6 })
        .slice(0, 28)
        .with(3, 26),
      virtio(1, 5, 50, 20, 6),
      SegmentFault.badTransportHeader,
    ],
    ["headers longer than ever seen", longHeader, virtio(1, 5, 50, 40 + 368, 6), SegmentFault.badTransportHeader],
  ])("Segmenter refuses %s and names no piece", (_, bytes, header, fault) => {
    expect(segment({ packet: bytes, header })).toBe(fault);
    expect(collector.pieces).toEqual([]);
    expect(arena.bytes.slice(region, region + bytes.length)).toEqual(bytes);
  });

  test("Segmenter has room for one more packet until it says otherwise, and again after clear()", () => {
    const tun = superpacket(ip4(tcp({ options: Array<number>(40).fill(1) }, payload(2 * MAX_SEGMENTS))), 2);
    let taken = 0;
    segment(tun);
    while (segmenter.hasRoom) {
      taken++;
      expect(segmenter.segment(packet, header, { piece: () => undefined })).toBe(SegmentFault.none);
    }
    expect(taken).toBeGreaterThan(0);
    let fault: SegmentFault = SegmentFault.none;
    while (fault === SegmentFault.none) fault = segmenter.segment(packet, header, { piece: () => undefined });
    expect(fault).toBe(SegmentFault.noRoom);
    segmenter.clear();
    expect(segmenter.hasRoom).toBe(true);
    expect(segmenter.segment(packet, header, { piece: () => undefined })).toBe(SegmentFault.none);
    collector.takeBytes();
  });

  test("Segmenter takes or refuses any bytes and touches nothing beside them", () => {
    const mutation = fc.tuple(fc.nat(130), fc.constantFrom(0, 1, 4, 5, 6, 0x11, 0x45, 0x50, 0xf0, 0x7f, 0xff));
    const template = fc.constantFrom(tcp4, tcp6, udp4, ip6(udp(payload(60))), longHeader, part);
    const word = fc.oneof(fc.constantFrom(0, 1, 6, 16, 20, 40, 50, 0xffff), fc.nat(0xffff));
    const asked = fc
      .tuple(fc.constantFrom(0, 1, 2), fc.constantFrom(0, 1, 3, 4, 5, 0x81), word, word, word)
      .map((fields) => virtio(...fields));
    const beside = [
      [before, 240],
      [after, 256],
      [region - 16, 16],
    ] as const;
    let taken = 0;
    fc.assert(
      fc.property(template, fc.array(mutation, { maxLength: 4 }), asked, (template, mutations, asked) => {
        const bytes = Uint8Array.from(template);
        for (const [at, to] of mutations) bytes[at % bytes.length] = to;
        for (const [at, length] of beside) arena.bytes.fill(CANARY, at, at + length);
        arena.bytes.fill(CANARY, region + bytes.length, region + bytes.length + 16);
        arena.bytes.set(bytes, region);
        if (packet.parse(region, bytes.length) !== PacketFault.none) return;
        header.read(new DataView(asked.buffer), 0);
        segmenter.clear();
        let total = 0;
        const fault = segmenter.segment(packet, header, { piece: (_, length) => (total += length) });
        if (fault === SegmentFault.none) {
          taken++;
          expect(total).toBe(segmenter.totalBytes);
        } else expect(total).toBe(0);
        expect(isIntact(before, 240) && isIntact(after, 256), "memory beside the headers").toBe(true);
        expect(isIntact(region - 16, 16) && isIntact(region + bytes.length, 16), "beside the packet").toBe(true);
      }),
      { seed: 5, numRuns: 5000 },
    );
    expect(taken).toBeGreaterThan(500);
  });
});
