import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Arena } from "../../lib/arena.ts";
import { Checksum, finish, fold, neverZero, sumShort, updateChecksum } from "./checksum.ts";
import { ip4, ip6, payload, plainChecksum, plainSum, tcp, u16, udp } from "./packets.ts";

const AREA = 70_000;
const arena = new Arena(AREA + 64);
const checksum = new Checksum(arena);
const area = arena.reserve(AREA + 64);

describe("sum", () => {
  test("Checksum.sum() and sumShort() agree with RFC 1071 at each alignment and length", () => {
    arena.bytes.set(payload(AREA, 7), area);
    for (let offset = 0; offset < 17; offset++)
      for (let length = 0; length <= 200; length++) {
        const expected = plainSum(arena.bytes.subarray(area + offset, area + offset + length));
        expect(checksum.sum(area + offset, length), `${length} bytes at ${offset}`).toBe(expected);
        expect(sumShort(arena.view, area + offset, length), `${length} bytes at ${offset}`).toBe(expected);
      }
  });

  test("Checksum.sum() agrees with RFC 1071 for any length", () => {
    arena.bytes.set(payload(AREA, 9), area);
    fc.assert(
      fc.property(fc.nat(64), fc.nat(65_535), (offset, length) => {
        const expected = plainSum(arena.bytes.subarray(area + offset, area + offset + length));
        expect(checksum.sum(area + offset, length)).toBe(expected);
        expect(sumShort(arena.view, area + offset, length)).toBe(expected);
      }),
      { numRuns: 300 },
    );
  });

  test("Checksum.sum() does not overflow on bytes that are all ones, nor say 0", () => {
    arena.bytes.fill(0xff, area, area + AREA);
    for (const length of [2, 62, 64, 1420, 65_534]) {
      expect(checksum.sum(area, length)).toBe(0xffff);
      expect(sumShort(arena.view, area, length)).toBe(0xffff);
    }
    expect(checksum.sum(area, 65_535)).toBe(fold(0xffff + 0xff00));
  });

  test("Checksum.sum() carries what is carried over twice", () => {
    // The lanes give 0x10001, the last eight bytes 0x1_ffff_fffe: 0x2_0000_ffff, then 0x2_ffff, then 0x1_0001, then 2.
    arena.bytes.fill(0, area, area + 64);
    arena.view.setUint16(area, 0xffff);
    arena.view.setUint16(area + 2, 2, true);
    arena.bytes.fill(0xff, area + 64, area + 72);
    expect(checksum.sum(area, 72)).toBe(plainSum(arena.bytes.subarray(area, area + 72)));
  });

  test("Checksum.sum() is 0 for zeros alone", () => {
    arena.bytes.fill(0, area, area + AREA);
    expect(checksum.sum(area, 65_535)).toBe(0);
    arena.bytes[area + 65_534] = 1;
    expect(checksum.sum(area, 65_535)).toBe(0x100);
  });
});

describe("field", () => {
  test("finish() is the sum's complement; what it is added to sums to 0xffff", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 2, maxLength: 40 }), (bytes) => {
        expect(finish(plainSum(bytes))).toBe(plainChecksum(bytes));
        expect(fold(plainSum(bytes) + finish(plainSum(bytes)))).toBe(0xffff);
      }),
    );
    expect(finish(0x7fff_ffff)).toBe(plainChecksum([0x7f, 0xff, 0xff, 0xff]));
  });

  test("neverZero() spares UDP the value that means none", () => {
    expect([0, 1, 0xffff].map(neverZero)).toEqual([0xffff, 1, 0xffff]);
  });

  test("updateChecksum() gives what computing all again gives, also where RFC 1141 was wrong", () => {
    expect(updateChecksum(0xdd2f, 0x5555, 0x3285)).toBe(0x0000); // RFC 1624 §4
    const word = fc.oneof(fc.constantFrom(0, 1, 0xfeff, 0xffff), fc.nat(0xffff));
    fc.assert(
      fc.property(fc.array(word, { minLength: 9, maxLength: 9 }), fc.nat(8), word, (words, which, after) => {
        fc.pre(words.some((word, index) => word !== 0 && index !== which)); // a header of zeros alone does not exist
        const before = words[which] ?? 0;
        const updated = updateChecksum(plainChecksum(words.flatMap(u16)), before, after);
        expect(updated).toBe(plainChecksum(words.with(which, after).flatMap(u16)));
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    ["TCP over IPv4", ip4(tcp({}, payload(101))), 20, 8, 12, 6],
    ["UDP over IPv4", ip4(udp(payload(64))), 20, 8, 12, 17],
    ["TCP over IPv6", ip6(tcp({}, payload(100))), 40, 32, 8, 6],
    ["UDP over IPv6", ip6(udp(payload(3))), 40, 32, 8, 17],
  ])("Checksum.pseudoHeader() completes the sum of %s", (_, packet, header, addresses, addressesAt, protocol) => {
    arena.bytes.set(packet, area);
    const length = packet.length - header;
    const pseudo = checksum.pseudoHeader(area + addressesAt, addresses, protocol, length);
    expect(fold(pseudo + checksum.sum(area + header, length))).toBe(0xffff);
  });
});
