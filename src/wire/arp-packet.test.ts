import fc from "fast-check";
import { expect, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { parseMacAddress } from "../ip/mac-address.ts";
import { arpProbe, decodeArp, encodeArp } from "./arp-packet.ts";

/** As `arping -D -I eth0 192.0.2.1` of iputils sends it, without the Ethernet header. */
const PROBE = "0001080006040001020000000001000000000000000000000c000201".replace("0c000201", "c0000201");

test("arpProbe() asks for an address as RFC 5227 has it, from nobody", () => {
  expect(Buffer.from(arpProbe(parseMacAddress("02:00:00:00:00:01"), parseAddress("192.0.2.1"))).toString("hex")).toBe(
    PROBE,
  );
});

test("decodeArp() reads a reply", () => {
  const reply = Buffer.from("0001080006040002020000000002c0000201020000000001c0000207", "hex");
  expect(decodeArp(reply)).toEqual({
    isReply: true,
    senderMac: "02:00:00:00:00:02",
    senderAddress: parseAddress("192.0.2.1"),
    targetAddress: parseAddress("192.0.2.7"),
  });
});

test("decodeArp() gives back what encodeArp() was given, and never throws", () => {
  const address = fc.bigInt(0n, 0xffff_ffffn).map((value) => ({ family: 4 as const, value }));
  const mac = fc
    .uint8Array({ minLength: 6, maxLength: 6 })
    .map((bytes) => parseMacAddress(Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":")));
  fc.assert(
    fc.property(fc.boolean(), mac, address, address, (isReply, senderMac, senderAddress, targetAddress) => {
      const packet = { isReply, senderMac, senderAddress, targetAddress };
      expect(decodeArp(encodeArp(packet))).toEqual(packet);
    }),
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => void decodeArp(bytes)));
});
