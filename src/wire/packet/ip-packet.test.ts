import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Arena } from "../../lib/arena.ts";
import { ICMP, IpPacket, PacketFault, TCP, UDP } from "./ip-packet.ts";
import { ip4, ip6, payload, tcp, u16, u32, udp } from "./packets.ts";

const arena = new Arena(80_000);
const at = arena.reserve(70_000) + 10; // 2 beside a word, as after a virtio header
const packet = new IpPacket(arena);

function parse(bytes: Uint8Array, trailing = 0): PacketFault {
  arena.bytes.fill(0xa5, at - 10, at + 70_000 - 10);
  arena.bytes.set(bytes, at);
  return packet.parse(at, bytes.length + trailing);
}

const fragment = (next: number, offset: number, more: 0 | 1) => [next, 0, ...u16((offset << 3) | more), ...u32(77)];

describe("parse", () => {
  test("IpPacket.parse() reads IPv4", () => {
    const bytes = ip4(tcp({}, payload(10)), { ttl: 9, source: "192.168.0.255", destination: "255.0.0.1" });
    expect(parse(bytes)).toBe(PacketFault.none);
    expect(packet).toMatchObject({
      at,
      end: at + 50,
      version: 4,
      headerLength: 20,
      length: 50,
      transportLength: 30,
      protocol: TCP,
      ttl: 9,
      isFragment: false,
      isFirstFragment: true,
      source: 0xc0a8_00ff,
      destination: 0xff00_0001,
      sourceAt: at + 12,
      destinationAt: at + 16,
      addressLength: 4,
      transportAt: at + 20,
    });
  });

  test("IpPacket.parse() skips IPv4 options", () => {
    expect(parse(ip4(udp([1, 2]), { options: [1, 1, 1, 0] }))).toBe(PacketFault.none);
    expect(packet).toMatchObject({ headerLength: 24, transportAt: at + 24, transportLength: 10, protocol: UDP });
  });

  test("IpPacket.parse() reads IPv6", () => {
    expect(parse(ip6(udp(payload(7)), { hopLimit: 200 }))).toBe(PacketFault.none);
    expect(packet).toMatchObject({
      version: 6,
      headerLength: 40,
      length: 55,
      protocol: UDP,
      ttl: 200,
      sourceAt: at + 8,
      destinationAt: at + 24,
      addressLength: 16,
      transportAt: at + 40,
    });
  });

  test("IpPacket.parse() follows IPv6 extension headers to the transport", () => {
    const hopByHop = [43, 0, 1, 4, 0, 0, 0, 0];
    const routing = [51, 1, 4, 0, 0, 0, 0, 0, ...Array<number>(8).fill(0)];
    const authentication = [60, 4, ...Array<number>(22).fill(0)];
    const options = [44, 0, 1, 4, 0, 0, 0, 0];
    const extensions = [...hopByHop, ...routing, ...authentication, ...options, ...fragment(6, 0, 1)];
    expect(parse(ip6(tcp({}), { extensions, firstExtension: 0 }))).toBe(PacketFault.none);
    expect(packet).toMatchObject({ headerLength: 40 + 64, protocol: TCP, transportLength: 20, isFragment: true });
    expect(packet.isFirstFragment).toBe(true);
  });

  test("IpPacket.parse() takes what follows a later IPv6 fragment header for payload", () => {
    const extensions = fragment(60, 2, 0);
    expect(parse(ip6(udp(payload(20)), { extensions, firstExtension: 44 }))).toBe(PacketFault.none);
    expect(packet).toMatchObject({ protocol: 60, headerLength: 48, isFragment: true, isFirstFragment: false });
  });

  test("IpPacket.parse() knows an IPv6 fragment that is all from a part", () => {
    expect(parse(ip6(udp([]), { extensions: fragment(17, 0, 0), firstExtension: 44 }))).toBe(PacketFault.none);
    expect(packet).toMatchObject({ protocol: UDP, isFragment: false, isFirstFragment: true });
  });

  test("IpPacket.parse() ignores the reserved bits of an IPv6 fragment header", () => {
    const extensions = fragment(17, 0, 0).with(3, 6);
    expect(parse(ip6(udp([]), { extensions, firstExtension: 44 }))).toBe(PacketFault.none);
    expect(packet.isFragment).toBe(false);
  });

  test.each([
    [0x0000, false, true],
    [0x4000, false, true],
    [0x8000, false, true],
    [0x2000, true, true],
    [0x2001, true, false],
    [0x0001, true, false],
    [0x1fff, true, false],
  ])("IpPacket.parse() reads IPv4's fragment field %i", (field, isFragment, isFirstFragment) => {
    expect(parse(ip4(udp([]), { fragment: field }))).toBe(PacketFault.none);
    expect(packet).toMatchObject({ isFragment, isFirstFragment });
  });

  test("IpPacket.parse() cuts off what follows the packet in its datagram", () => {
    expect(parse(ip4(udp([1])), 9)).toBe(PacketFault.none);
    expect(packet.length).toBe(29);
    expect(parse(ip6(udp([1])), 9)).toBe(PacketFault.none);
    expect(packet.length).toBe(49);
  });

  const four = ip4(udp(payload(4)));
  const six = ip6(udp(payload(4)));
  test.each([
    ["nothing", Uint8Array.of(), PacketFault.tooShort],
    ["19 bytes", four.slice(0, 19), PacketFault.tooShort],
    ["39 bytes of IPv6", six.slice(0, 39), PacketFault.tooShort],
    ["version 5", four.with(0, 0x55), PacketFault.badVersion],
    ["a header of 16 bytes", four.with(0, 0x44), PacketFault.badHeaderLength],
    ["a header longer than the packet", four.with(0, 0x4f), PacketFault.badHeaderLength],
    ["a total length shorter than the header", four.with(3, 19), PacketFault.badTotalLength],
    ["a cut packet", four.slice(0, -1), PacketFault.badTotalLength],
    ["a cut IPv6 packet", six.slice(0, -1), PacketFault.badTotalLength],
    ["an extension header beyond the packet", six.with(6, 60).with(41, 9), PacketFault.badHeaderLength],
    [
      "an extension header without room",
      ip6(udp([]), { firstExtension: 0 }).slice(0, 47).with(5, 7),
      PacketFault.badHeaderLength,
    ],
  ])("IpPacket.parse() refuses %s", (_, bytes, fault) => {
    expect(parse(bytes)).toBe(fault);
  });

  test("IpPacket.parse() takes or refuses any bytes and stays within them", () => {
    const hostile = fc.oneof(
      fc.uint8Array({ maxLength: 120 }),
      fc
        .tuple(
          fc.constantFrom(0x45, 0x46, 0x4f, 0x60),
          fc.constantFrom(0, 6, 17, 43, 44, 51, 60),
          fc.uint8Array({ minLength: 60, maxLength: 120 }),
        )
        .map(([first, next, rest]) => rest.with(0, first).with(2, 0).with(4, 0).with(6, next)),
    );
    let taken = 0;
    fc.assert(
      fc.property(hostile, (bytes) => {
        if (parse(bytes) !== PacketFault.none) return;
        taken++;
        expect(packet.length).toBeLessThanOrEqual(bytes.length);
        expect(packet.headerLength).toBeLessThanOrEqual(packet.length);
        expect(packet.transportAt - packet.at).toBe(packet.headerLength);
      }),
      { seed: 3, numRuns: 10_000 },
    );
    expect(taken).toBeGreaterThan(500);
  });
});

describe("header", () => {
  const anyPacket = fc
    .tuple(fc.integer({ min: 2, max: 255 }), fc.nat(0xffff), fc.nat(255), fc.boolean())
    .map(([ttl, id, tos, isSix]) => ({
      ttl,
      make: (ttl: number) =>
        isSix
          ? ip6(udp([9]), { hopLimit: ttl, trafficClass: tos })
          : ip4(udp([9]), { ttl, id, tos, options: [1, 1, 1, 0] }),
    }));

  test("IpPacket.decrementTtl() leaves a packet as if it had been made with one less", () => {
    fc.assert(
      fc.property(anyPacket, ({ ttl, make }) => {
        parse(make(ttl));
        expect(packet.decrementTtl()).toBe(true);
        expect(packet.ttl).toBe(ttl - 1);
        expect(packet.isHeaderIntact()).toBe(true);
        expect(arena.bytes.slice(at, packet.end)).toEqual(make(ttl - 1));
      }),
      { numRuns: 500 },
    );
  });

  test.each([0, 1])("IpPacket.decrementTtl() refuses a TTL of %i and changes nothing", (ttl) => {
    for (const bytes of [ip4(udp([1]), { ttl }), ip6(udp([1]), { hopLimit: ttl })]) {
      parse(bytes);
      expect(packet.decrementTtl()).toBe(false);
      expect(arena.bytes.slice(at, packet.end)).toEqual(bytes);
    }
  });

  test("IpPacket.decrementTtl() does not mend a wrong checksum", () => {
    parse(ip4({ protocol: ICMP, bytes: payload(8).with(2, 0).with(3, 0) as never, checksumAt: 2 }).with(10, 0x77));
    expect(packet.isHeaderIntact()).toBe(false);
    expect(packet.decrementTtl()).toBe(true);
    expect(packet.isHeaderIntact()).toBe(false);
  });
});
