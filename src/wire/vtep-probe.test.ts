import { describe, expect, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { parseMacAddress } from "../ip/mac-address.ts";
import { answersVtepProbe, encodeVtepProbe } from "./vtep-probe.ts";

const nonce = Uint8Array.from({ length: 16 }, (_, index) => index + 1);

/** The answer of a Linux host, as a raw socket hands it over: header of 20 bytes, echo reply, nonce. */
const ANSWER = new Uint8Array([
  ...Buffer.from("4500002c123400004001a8930a052800c0000201", "hex"),
  ...Buffer.from("0000bfb700000000", "hex"),
  ...nonce,
]);

describe("encodeVtepProbe()", () => {
  test("is an echo request in IPv4 in Ethernet in vxlan", () => {
    const bytes = encodeVtepProbe({
      vni: 0x010203,
      mac: parseMacAddress("66:72:44:0d:7e:01"),
      target: parseAddress("10.5.40.0"),
      sender: parseAddress("192.0.2.1"),
      nonce,
    });
    expect(
      Buffer.from(bytes)
        .toString("hex")
        .match(/.{1,4}/g)
        ?.join(" "),
    ).toBe(
      "0800 0000 0102 0300 " +
        "6672 440d 7e01 0266 6c6e 6c3f 0800 " +
        "4500 002c 0000 0000 4001 86cb c000 0201 0a05 2800 " +
        "0800 b7b7 0000 0000 0102 0304 0506 0708 090a 0b0c 0d0e 0f10",
    );
  });
});

describe("answersVtepProbe()", () => {
  test("knows the answer by what it carries, also after a NAT and with options", () => {
    expect(answersVtepProbe(ANSWER, nonce)).toBe(true);
    const options = Uint8Array.from([0x46, ...ANSWER.subarray(1, 20), 1, 1, 1, 1, ...ANSWER.subarray(20)]);
    expect(answersVtepProbe(options, nonce)).toBe(true);
  });

  test.each([
    ["nothing", ANSWER.subarray(0, 0)],
    ["a part of it", ANSWER.subarray(0, 43)],
    ["another's echo", ANSWER.map((byte, at) => (at === 43 ? 99 : byte))],
    ["a question", ANSWER.map((byte, at) => (at === 20 ? 8 : byte))],
    ["an IPv6 packet", ANSWER.map((byte, at) => (at === 0 ? 0x65 : byte))],
    ["a header that ends too early", ANSWER.map((byte, at) => (at === 0 ? 0x41 : byte))],
    ["another protocol", ANSWER.map((byte, at) => (at === 9 ? 17 : byte))],
  ])("takes %s for none", (_, packet) => {
    expect(answersVtepProbe(packet, nonce)).toBe(false);
  });
});
