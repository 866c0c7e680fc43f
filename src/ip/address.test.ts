import { isIPv4, isIPv6 } from "node:net";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Address,
  addToAddress,
  compareAddress,
  decodeAddress,
  encodeAddress,
  equalAddress,
  formatAddress,
  isLinkLocal,
  isLoopback,
  isMulticast,
  isReserved,
  isUnspecified,
  parseAddress,
  tryParseAddress,
} from "./address.ts";

const ipv4 = fc.bigInt({ min: 0n, max: 0xffff_ffffn }).map((value): Address => ({ family: 4, value }));
/** Rich in runs of zeros, which the text form shortens. */
const ipv6 = fc
  .array(fc.oneof(fc.constant(0n), fc.bigInt({ min: 0n, max: 0xffffn })), { minLength: 8, maxLength: 8 })
  .map((groups): Address => ({ family: 6, value: groups.reduce((value, group) => (value << 16n) | group, 0n) }));
const anyAddress = fc.oneof(ipv4, ipv6);

describe("text", () => {
  test("parseAddress() reads back what formatAddress() writes", () => {
    fc.assert(
      fc.property(anyAddress, (address) => {
        expect(parseAddress(formatAddress(address))).toEqual(address);
      }),
    );
  });

  test("formatAddress() writes IPv6 as URLs do", () => {
    fc.assert(
      fc.property(ipv6, (address) => {
        fc.pre(address.value >> 32n !== 0xffffn); // URLs do not write mapped IPv4 addresses as such
        const whole = address.value
          .toString(16)
          .padStart(32, "0")
          .replaceAll(/....(?!$)/g, "$&:");
        expect(`[${formatAddress(address)}]`).toBe(new URL(`http://[${whole}]`).hostname);
      }),
    );
  });

  test.each([
    ["::", "::"],
    ["::1", "::1"],
    ["1::", "1::"],
    ["2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["2001:db8:0:0:0:1:0:0", "2001:db8::1:0:0"],
    ["::ffff:192.0.2.1", "::ffff:192.0.2.1"],
    ["::ffff:c000:201", "::ffff:192.0.2.1"],
    ["64:ff9b::192.0.2.33", "64:ff9b::c000:221"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
    ["0.0.0.0", "0.0.0.0"],
    ["255.255.255.255", "255.255.255.255"],
  ])("formatAddress() writes %s as %s", (text, canonical) => {
    expect(formatAddress(parseAddress(text))).toBe(canonical);
  });

  test.each([
    "",
    "10",
    "10.5.1",
    "10.5.1.",
    ".10.5.1.2",
    "10..1.2",
    "10.5.1.2.3",
    "10.5.1.2.",
    "010.0.0.1",
    "10.00.0.1",
    "10.0.0.01",
    "256.0.0.1",
    "1.2.3.999",
    "1.2.3.4294967296",
    "-1.2.3.4",
    "+1.2.3.4",
    "0x10.1.1.1",
    "1e1.1.1.1",
    " 1.2.3.4",
    "1.2.3.4 ",
    "1.2.3.4\n",
    "１.2.3.4",
    "1,2,3,4",
    "1.2.3.4/32",
    ":",
    ":::",
    "1:",
    ":1",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::",
    "::1:2:3:4:5:6:7:8",
    "12345::",
    "g::",
    "fe80::1%eth0",
    "[::1]",
    "::1.2.3",
    "::1.2.3.04",
    "1.2.3.4::",
    "::1.2.3.4:5",
    "1:2:3:4:5:6:7:1.2.3.4",
  ])("parseAddress() refuses %j", (text) => {
    expect(tryParseAddress(text)).toBeUndefined();
    expect(() => parseAddress(text)).toThrow(`not an IP address: ${JSON.stringify(text)}`);
  });

  test("parseAddress() agrees with the system's parser about any text", () => {
    const alphabet = fc.constantFrom(...Array.from("0123456789abcdefAF.:::..%x "));
    const digits = fc.stringMatching(/^(\d{1,4}\.){2,4}\d{1,4}$/);
    const groups = fc.stringMatching(/^([0-9a-f]{0,5}:){1,8}[0-9a-f.]{0,5}$/);
    const text = fc.oneof(fc.string({ unit: alphabet, maxLength: 40 }), digits, groups);
    fc.assert(
      fc.property(text, (given) => {
        const zone = given.includes("%");
        expect(tryParseAddress(given)?.family).toBe(isIPv4(given) ? 4 : isIPv6(given) && !zone ? 6 : undefined);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("bytes", () => {
  test("decodeAddress() reads back what encodeAddress() writes", () => {
    fc.assert(
      fc.property(anyAddress, (address) => {
        expect(decodeAddress(encodeAddress(address))).toEqual(address);
      }),
    );
  });

  test("encodeAddress() is in network byte order", () => {
    expect([...encodeAddress(parseAddress("10.5.34.1"))]).toEqual([10, 5, 34, 1]);
    const bytes = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34];
    expect([...encodeAddress(parseAddress("2001:db8::1234"))]).toEqual(bytes);
  });

  test("decodeAddress() refuses other lengths, and minds the offset of a view", () => {
    for (const length of [0, 3, 5, 15, 17]) expect(() => decodeAddress(new Uint8Array(length))).toThrow(RangeError);
    expect(formatAddress(decodeAddress(Uint8Array.of(9, 9, 10, 5, 34, 1).subarray(2)))).toBe("10.5.34.1");
  });
});

describe("arithmetic", () => {
  test("compareAddress() orders by family, then as numbers", () => {
    const texts = ["9.9.9.9", "10.0.0.1", "10.0.0.10", "200.0.0.1", "::", "::2", "1::"];
    const sorted = texts.toReversed().map(parseAddress).toSorted(compareAddress).map(formatAddress);
    expect(sorted).toEqual(texts);
  });

  test("equalAddress() tells the families apart", () => {
    expect(equalAddress(parseAddress("0.0.0.1"), parseAddress("::1"))).toBe(false);
    expect(equalAddress(parseAddress("::1"), parseAddress("0:0::1"))).toBe(true);
  });

  test("addToAddress() stays within the family", () => {
    expect(formatAddress(addToAddress(parseAddress("10.5.255.255"), 1n))).toBe("10.6.0.0");
    expect(() => addToAddress(parseAddress("255.255.255.255"), 1n)).toThrow(RangeError);
    expect(() => addToAddress(parseAddress("0.0.0.0"), -1n)).toThrow(RangeError);
    expect(formatAddress(addToAddress(parseAddress("::ffff:ffff"), 1n))).toBe("::1:0:0");
  });
});

test.each([
  [isLoopback, ["127.0.0.1", "127.255.255.255", "::1"], ["128.0.0.1", "126.255.255.255", "::", "::2", "7f00::"]],
  [isMulticast, ["224.0.0.0", "239.255.255.255", "ff02::1"], ["223.255.255.255", "240.0.0.0", "fe80::1"]],
  [isLinkLocal, ["169.254.0.0", "169.254.255.255", "fe80::1", "febf::1"], ["169.253.0.1", "fec0::1", "fe7f::1"]],
  [isUnspecified, ["0.0.0.0", "::"], ["0.0.0.1", "::1"]],
  [isReserved, ["240.0.0.0", "255.255.255.255"], ["239.255.255.255", "f000::"]],
])("%o is right at the edges", (claim, yes, no) => {
  for (const text of yes) expect([text, claim(parseAddress(text))]).toEqual([text, true]);
  for (const text of no) expect([text, claim(parseAddress(text))]).toEqual([text, false]);
});
