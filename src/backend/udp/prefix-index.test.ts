import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Address, addressBits, encodeAddress, type Family, parseAddress } from "../../ip/address.ts";
import { containsAddress, networkOf, type Prefix, parsePrefix } from "../../ip/prefix.ts";
import { buildPrefixIndex, NONE, type PrefixEntry, PrefixIndex } from "./prefix-index.ts";

function lookup(index: PrefixIndex, address: Address): number {
  const view = new DataView(encodeAddress(address).buffer);
  return address.family === 4
    ? index.lookup4(view.getUint32(0))
    : index.lookup6(view.getInt32(0), view.getInt32(4), view.getUint32(8), view.getUint32(12));
}

/** The same by looking at every entry. */
function scan(entries: readonly PrefixEntry[], address: Address): number {
  let best: PrefixEntry | undefined;
  for (const entry of entries)
    if (containsAddress(entry.prefix, address) && entry.prefix.length >= (best?.prefix.length ?? 0)) best = entry;
  return best?.value ?? NONE;
}

/** Few different addresses, so that prefixes often hold each other and the addresses asked for. */
const anyAddress = (family: Family) => {
  const bits = addressBits(family);
  const few = fc
    .tuple(fc.bigInt({ min: 0n, max: 0x1fn }), fc.nat({ max: bits - 5 }))
    .map(([value, shift]) => value << BigInt(shift));
  const any = fc.bigInt({ min: 0n, max: (1n << BigInt(bits)) - 1n });
  return fc.oneof(few, any).map((value): Address => ({ family, value }));
};
const anyEntry = (family: Family) =>
  fc
    .tuple(
      anyAddress(family),
      fc.nat({ max: addressBits(family) }),
      fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff }),
    )
    .map(
      ([address, length, value]): PrefixEntry => ({ prefix: { address, length }, value: value === NONE ? 0 : value }),
    );

const index4 = (...entries: readonly (readonly [string, number])[]) =>
  new PrefixIndex(
    buildPrefixIndex(
      4,
      entries.map(([text, value]) => ({ prefix: parsePrefix(text), value })),
    ),
  );

describe("PrefixIndex", () => {
  test.each([4, 6] as const)("lookup() agrees with a look at every entry, IPv%i", (family) => {
    fc.assert(
      fc.property(fc.array(anyEntry(family), { maxLength: 60 }), fc.array(anyAddress(family)), (entries, addresses) => {
        const index = new PrefixIndex(buildPrefixIndex(family, entries));
        for (const address of [...addresses, ...entries.map((entry) => entry.prefix.address)])
          expect(lookup(index, address)).toBe(scan(entries, address));
      }),
      { numRuns: 500 },
    );
  });

  test("lookup4() finds nothing in an empty index", () => {
    expect(index4().lookup4(0)).toBe(NONE);
    expect(new PrefixIndex(buildPrefixIndex(6, [])).lookup6(0, 0, 0, 0)).toBe(NONE);
  });

  test("lookup4() prefers the longer prefix, and falls back on the default", () => {
    const index = index4(["0.0.0.0/0", 1], ["10.5.0.0/16", 2], ["10.5.34.0/24", 3], ["10.5.34.7/32", 4]);
    const found = ["192.0.2.1", "10.5.1.1", "10.5.34.6", "10.5.34.7"].map((text) => lookup(index, parseAddress(text)));
    expect(found).toEqual([1, 2, 3, 4]);
  });

  test("buildPrefixIndex() lets the last of two equal prefixes count, host bits or not", () => {
    const index = index4(["10.5.34.0/24", 1], ["10.5.34.9/24", 2]);
    expect(lookup(index, parseAddress("10.5.34.1"))).toBe(2);
  });

  test("buildPrefixIndex() leaves entries of the other family out", () => {
    const entries = [
      { prefix: parsePrefix("10.5.34.0/24"), value: 1 },
      { prefix: parsePrefix("fc00::/7"), value: 2 },
    ];
    const [v4, v6] = [new PrefixIndex(buildPrefixIndex(4, entries)), new PrefixIndex(buildPrefixIndex(6, entries))];
    const found = (index: PrefixIndex, ...texts: readonly string[]) =>
      texts.map((text) => lookup(index, parseAddress(text)));
    expect(found(v4, "10.5.34.1", "0.0.0.0", "252.0.0.1")).toEqual([1, NONE, NONE]);
    expect(found(v6, "fd00::1", "::", "::10.5.34.1", "a05:2200::")).toEqual([2, NONE, NONE, NONE]);
  });

  test("lookup4() works with all 33 lengths at once", () => {
    const address = parseAddress("170.85.170.85");
    const entries = Array.from({ length: 33 }, (_, length) => ({ prefix: networkOf(address, length), value: length }));
    const index = new PrefixIndex(buildPrefixIndex(4, entries));
    for (let bit = 0; bit < 32; bit++) {
      const other: Address = { family: 4, value: address.value ^ (1n << BigInt(31 - bit)) };
      expect(lookup(index, other)).toBe(bit); // they share `bit` leading bits
    }
    expect(lookup(index, address)).toBe(32);
  });

  test.each([
    ["/24s in a row", 24, (n: number) => n << 8],
    ["/32s in a row", 32, (n: number) => n],
    ["/32s far apart", 32, (n: number) => Math.imul(n, 0x0001_0003)],
    ["/16s", 16, (n: number) => n << 16],
  ] as const)("buildPrefixIndex() keeps 10,000 %s small and finds each", (_, length, place) => {
    const prefixes = Array.from(
      { length: 10_000 },
      (_, n): Prefix => networkOf({ family: 4, value: BigInt((0x0a00_0000 + place(n)) >>> 0) }, length),
    );
    const data = buildPrefixIndex(
      4,
      prefixes.map((prefix, value) => ({ prefix, value })),
    );
    expect(data.cells.byteLength + data.levels.byteLength).toBeLessThan(300_000);
    const index = new PrefixIndex(data);
    for (const [value, { address }] of prefixes.entries()) expect(lookup(index, address)).toBe(value);
  });
});
