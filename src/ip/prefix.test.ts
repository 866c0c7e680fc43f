import { BlockList } from "node:net";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Address, addressBits, formatAddress, parseAddress } from "./address.ts";
import {
  containsAddress,
  containsPrefix,
  equalPrefix,
  firstAddress,
  formatPrefix,
  isNetwork,
  lastAddress,
  networkOf,
  overlaps,
  type Prefix,
  parsePrefix,
  prefixSize,
} from "./prefix.ts";

const family = fc.constantFrom(4 as const, 6 as const);
/** Addresses close to each other, so that prefixes often overlap. */
const anyAddress = family.chain((family) =>
  fc
    .tuple(fc.bigInt({ min: 0n, max: 0xffffn }), fc.nat({ max: addressBits(family) - 16 }))
    .map(([value, shift]): Address => ({ family, value: value << BigInt(shift) })),
);
const anyPrefix = anyAddress.chain((address) =>
  fc.nat({ max: addressBits(address.family) }).map((length): Prefix => ({ address, length })),
);
const network = anyPrefix.map(({ address, length }) => networkOf(address, length));

describe("text", () => {
  test("parsePrefix() reads back what formatPrefix() writes", () => {
    fc.assert(
      fc.property(anyPrefix, (prefix) => {
        expect(parsePrefix(formatPrefix(prefix))).toEqual(prefix);
      }),
    );
  });

  test.each([
    ["10.5.0.0", "CIDR"],
    ["10.5.0.0/", "prefix length"],
    ["10.5.0.0/33", "0 to 32"],
    ["10.5.0.0/-1", "prefix length"],
    ["10.5.0.0/08", "prefix length"],
    ["10.5.0.0/8.0", "prefix length"],
    ["10.5.0.0/ 8", "prefix length"],
    ["10.5.0.0/8/8", "prefix length"],
    ["10.5.0.0/1e1", "prefix length"],
    ["10.5/16", "IP address"],
    ["010.5.0.0/16", "IP address"],
    ["/16", "IP address"],
    ["fc00::/129", "0 to 128"],
    ["fe80::%eth0/64", "IP address"],
    ["", "CIDR"],
  ])("parsePrefix() refuses %j saying why, and the text", (text, reason) => {
    expect(() => parsePrefix(text)).toThrow(reason);
    expect(() => parsePrefix(text)).toThrow(JSON.stringify(text));
  });

  test("parsePrefix() keeps host bits", () => {
    expect(formatPrefix(parsePrefix("10.5.34.1/24"))).toBe("10.5.34.1/24");
    expect(isNetwork(parsePrefix("10.5.34.1/24"))).toBe(false);
    expect(isNetwork(parsePrefix("10.5.34.0/24"))).toBe(true);
  });
});

describe("ranges", () => {
  test("firstAddress() and lastAddress() are the ends of the network", () => {
    const ends = (text: string) => [firstAddress(parsePrefix(text)), lastAddress(parsePrefix(text))].map(formatAddress);
    expect(ends("10.5.34.77/26")).toEqual(["10.5.34.64", "10.5.34.127"]);
    expect(ends("0.0.0.0/0")).toEqual(["0.0.0.0", "255.255.255.255"]);
    expect(ends("192.0.2.1/32")).toEqual(["192.0.2.1", "192.0.2.1"]);
    expect(ends("fc00::1/64")).toEqual(["fc00::", "fc00::ffff:ffff:ffff:ffff"]);
  });

  test("prefixSize() counts from first to last", () => {
    fc.assert(
      fc.property(anyPrefix, (prefix) => {
        expect(lastAddress(prefix).value - firstAddress(prefix).value + 1n).toBe(prefixSize(prefix));
      }),
    );
  });

  test("containsAddress() is the same as lying between first and last", () => {
    fc.assert(
      fc.property(anyPrefix, anyAddress, (prefix, address) => {
        const within =
          prefix.address.family === address.family &&
          firstAddress(prefix).value <= address.value &&
          address.value <= lastAddress(prefix).value;
        expect(containsAddress(prefix, address)).toBe(within);
      }),
    );
  });

  test("containsAddress() agrees with the system's block list", () => {
    fc.assert(
      fc.property(anyPrefix, anyAddress, ({ address, length }, other) => {
        fc.pre(address.family === other.family && length > 0);
        const kind = address.family === 4 ? "ipv4" : "ipv6";
        const list = new BlockList();
        list.addSubnet(formatAddress(address), length, kind);
        expect(containsAddress({ address, length }, other)).toBe(list.check(formatAddress(other), kind));
      }),
    );
  });

  test("overlaps() is symmetric and the same as sharing an address", () => {
    fc.assert(
      fc.property(network, network, (a, b) => {
        const shared = containsAddress(a, b.address) || containsAddress(b, a.address);
        expect([overlaps(a, b), overlaps(b, a)]).toEqual([shared, shared]);
      }),
    );
  });

  test("containsPrefix() holds for the prefix itself and its parts, never the other way round", () => {
    const outer = parsePrefix("10.4.0.0/16");
    for (const inner of ["10.4.0.0/16", "10.4.255.0/24", "10.4.255.255/32"])
      expect(containsPrefix(outer, parsePrefix(inner))).toBe(true);
    for (const other of ["10.4.0.0/15", "10.4.0.0/14", "10.5.0.0/16", "0.0.0.0/0", "::/0"])
      expect(containsPrefix(outer, parsePrefix(other))).toBe(false);
  });

  test("equalPrefix() minds length and family", () => {
    expect(equalPrefix(parsePrefix("10.5.0.0/16"), parsePrefix("10.5.0.0/16"))).toBe(true);
    expect(equalPrefix(parsePrefix("10.5.0.0/16"), parsePrefix("10.5.0.0/17"))).toBe(false);
    expect(equalPrefix(parsePrefix("0.0.0.0/0"), parsePrefix("::/0"))).toBe(false);
  });

  test("networkOf() gives a network that holds the address", () => {
    fc.assert(
      fc.property(anyPrefix, ({ address, length }) => {
        const found = networkOf(address, length);
        expect([isNetwork(found), containsAddress(found, address)]).toEqual([true, true]);
      }),
    );
    expect(formatPrefix(networkOf(parseAddress("10.5.34.77"), 26))).toBe("10.5.34.64/26");
  });
});
