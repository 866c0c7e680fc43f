import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseAddress } from "../../ip/address.ts";
import { Arena } from "../../lib/arena.ts";
import { Checksum } from "../../wire/packet/checksum.ts";
import { IpPacket } from "../../wire/packet/ip-packet.ts";
import { type PacketText, putPacket } from "./forwarding-packets.ts";
import { type IcmpErrorReason, IcmpErrors } from "./icmp-error.ts";

interface Captured {
  readonly name: string;
  readonly kind: IcmpErrorReason;
  readonly packet: string;
  /** Null if there was none. */
  readonly error: string | null;
}

/** What Linux 6.18 answered as a router, to packets that were written to its TUN device. */
const CAPTURED: readonly Captured[] = JSON.parse(
  readFileSync(new URL("icmp-error-fixtures.json", import.meta.url), "utf8"),
);
const SOURCES = ["10.5.16.0", "fc05:0:0:10::"].map(parseAddress);

const arena = new Arena(1 << 18);
const at = arena.reserve(70_000);
const checksum = new Checksum(arena);

function errors(sources = SOURCES) {
  return new IcmpErrors(arena, checksum, sources);
}

/** The error's bytes, or undefined if there is none. */
function answer(packet: IpPacket, reason: IcmpErrorReason = "no route", icmp = errors()): Uint8Array | undefined {
  const length = icmp.build(packet, reason, 0);
  return length === 0 ? undefined : arena.bytes.slice(icmp.at, icmp.at + length);
}

/** Without what the kernel chooses anew each time: IPv4's id, and with it the checksum; IPv6's flow label. */
function comparable(bytes: Uint8Array | undefined): string | undefined {
  if (bytes === undefined) return undefined;
  const copy = bytes.slice();
  if ((copy[0] ?? 0) >>> 4 === 4) for (const index of [4, 5, 10, 11]) copy[index] = 0;
  else copy.set([0x60, 0, 0, 0]);
  return Buffer.from(copy).toString("hex");
}

function onesComplementSum(bytes: Uint8Array): number {
  let sum = 0;
  for (const [index, byte] of bytes.entries()) sum += index % 2 === 0 ? byte * 256 : byte;
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 65_536);
  return sum;
}

describe("IcmpErrors", () => {
  test.each(CAPTURED.filter(({ name }) => name !== "a later fragment over IPv6"))(
    "build() answers $name as Linux does",
    ({ kind, packet, error }) => {
      const bytes = Buffer.from(packet, "hex");
      arena.bytes.set(bytes, at);
      const cursor = new IpPacket(arena);
      expect(cursor.parse(at, bytes.length)).toBe(0);
      const captured = error === null ? undefined : Uint8Array.from(Buffer.from(error, "hex"));
      expect(comparable(answer(cursor, kind))).toBe(comparable(captured));
    },
  );

  test("build() makes IPv4 headers whose checksum is right", () => {
    const error = answer(putPacket(arena, at, { from: "10.5.16.5", to: "10.6.1.1" }));
    expect(onesComplementSum(error?.subarray(0, 20) ?? new Uint8Array(0))).toBe(0xffff);
  });

  test.each([
    { from: "0.0.0.0", to: "10.6.1.1" },
    { from: "0.5.5.5", to: "10.6.1.1" },
    { from: "127.0.0.1", to: "10.6.1.1" },
    { from: "224.0.0.1", to: "10.6.1.1" },
    { from: "240.0.0.1", to: "10.6.1.1" },
    { from: "255.255.255.255", to: "10.6.1.1" },
    { from: "10.5.16.5", to: "224.0.0.251" },
    { from: "10.5.16.5", to: "239.255.255.250" },
    { from: "10.5.16.5", to: "255.255.255.255" },
    { from: "10.5.16.5", to: "10.6.1.1", fragment: 1 },
    { from: "10.5.16.5", to: "10.6.1.1", fragment: 0x2001 },
    { from: "10.5.16.5", to: "10.6.1.1", protocol: 1, payload: Uint8Array.of(3, 0) },
    { from: "10.5.16.5", to: "10.6.1.1", protocol: 1, payload: new Uint8Array(0) },
    { from: "10.5.16.5", to: "10.6.1.1", protocol: 1, payload: Uint8Array.of(40, 0) }, // 40 − 32 is an echo request
    { from: "::", to: "fc06::1" },
    { from: "::1", to: "fc06::1" },
    { from: "ff02::1", to: "fc06::1" },
    { from: "fe80::1", to: "fc06::1" },
    { from: "fc05::5", to: "ff02::1" },
    { from: "fc05::5", to: "fc06::1", protocol: 58, payload: Uint8Array.of(137, 0) },
    { from: "fc05::5", to: "fc06::1", protocol: 58, payload: new Uint8Array(0) },
    { from: "fc05::5", to: "fc06::1", protocol: 44, payload: Uint8Array.of(17, 0, 0, 8, 0, 0, 0, 9) },
  ] satisfies PacketText[])("build() answers nothing to %j", (text) => {
    const packet = putPacket(arena, at, text);
    expect([answer(packet, "no route"), answer(packet, "ttl exceeded")]).toEqual([undefined, undefined]);
  });

  test.each([
    { from: "1.2.3.4", to: "223.255.255.255" },
    { from: "223.1.1.1", to: "240.0.0.1" },
    { from: "126.1.1.1", to: "128.0.0.1" },
    { from: "10.5.16.5", to: "10.6.1.1", fragment: 0x4000 },
    { from: "0:0:1::", to: "fc06::1" },
    { from: "feff::1", to: "fe00::1" },
  ] satisfies PacketText[])("build() answers %j", (text) => {
    expect(answer(putPacket(arena, at, text))).toBeDefined();
  });

  test("build() answers nothing in a family in which we have no address", () => {
    const icmp = errors([parseAddress("10.5.16.0")]);
    expect(answer(putPacket(arena, at, { from: "fc05::5", to: "fc06::1" }), "no route", icmp)).toBeUndefined();
    expect(answer(putPacket(arena, at, { from: "10.5.16.5", to: "10.6.1.1" }), "no route", icmp)).toBeDefined();
  });

  test("build() quotes no more than fits, of packets that the kernel left uncut too", () => {
    const payload = new Uint8Array(65_000).fill(7);
    const sizes = [
      { from: "10.5.16.5", to: "10.6.1.1", payload },
      { from: "fc05::5", to: "fc06::1", payload },
    ].map((text) => answer(putPacket(arena, at, text))?.length);
    expect(sizes).toEqual([576, 1280]);
  });

  test("build() leaves nothing of one error in the next", () => {
    const icmp = errors();
    const texts: readonly PacketText[] = [
      { from: "fc05::5", to: "fc06::1", payload: new Uint8Array(900).fill(255) },
      { from: "10.5.16.5", to: "10.6.1.1", payload: new Uint8Array(900).fill(255) },
      { from: "10.5.16.5", to: "10.6.1.1" },
      { from: "fc05::5", to: "fc06::1" },
      { from: "fc05::5", to: "fc06::1" },
    ];
    for (const text of texts) {
      const packet = putPacket(arena, at, text);
      expect(answer(packet, "no route", icmp)).toEqual(answer(packet, "no route"));
    }
  });

  test("build() lets 50 pass at once and 1,000 a second; what gets none takes none away", () => {
    const icmp = errors();
    const packet = putPacket(arena, at, { from: "10.5.16.5", to: "10.6.1.1" });
    const passed = (now: number) =>
      Array.from({ length: 200 }, () => icmp.build(packet, "no route", now)).filter((length) => length > 0).length;
    const silent = putPacket(arena, at + 1000, { from: "10.5.16.5", to: "224.0.0.1" });
    for (let times = 0; times < 100; times++) icmp.build(silent, "no route", 0);
    expect([passed(0), passed(10), passed(10_000)]).toEqual([50, 10, 50]);
  });

  test("build() has an answer to whatever parses, and writes nowhere else", () => {
    const own = new Arena(1 << 17);
    const where = own.reserve(2048);
    const icmp = new IcmpErrors(own, new Checksum(own), SOURCES);
    const packet = new IpPacket(own);
    const after = icmp.at + 1280;
    const untouched = new Uint8Array(own.bytes.length - after).fill(0xaa);
    let now = 0;
    let answered = 0;
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 20, maxLength: 1500, size: "max" }),
        fc.constantFrom(0x45, 0x46, 0x60, 0x4f),
        fc.boolean(),
        (bytes, first, isWhole) => {
          own.bytes.fill(0xaa);
          own.bytes.set(bytes, where);
          own.bytes[where] = first;
          own.view.setUint16(where + (first === 0x60 ? 4 : 2), bytes.length - (first === 0x60 ? 40 : 0));
          if (first !== 0x60 && isWhole) own.view.setUint16(where + 6, 0);
          if (packet.parse(where, bytes.length) !== 0) return;
          const before = own.bytes.slice(0, icmp.at);
          const length = icmp.build(packet, "no route", (now += 1000));
          if (length > 0) answered++;
          const most = packet.version === 4 ? 576 : 1280;
          expect(length === 0 || (length >= 48 && length <= most)).toBe(true);
          expect(Buffer.compare(own.bytes.subarray(0, icmp.at), before)).toBe(0);
          expect(Buffer.compare(own.bytes.subarray(after), untouched)).toBe(0);
        },
      ),
      { seed: 7, numRuns: 300 },
    );
    expect(answered).toBeGreaterThan(20);
  });
});
