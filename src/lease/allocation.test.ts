import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compareAddress } from "../ip/address.ts";
import {
  containsAddress,
  equalPrefix,
  formatPrefix,
  networkOf,
  overlaps,
  type Prefix,
  parsePrefix,
} from "../ip/prefix.ts";
import { fitsConfig, formatRange, freeSubnets, isFree } from "./allocation.ts";
import { type NetworkConfig, parseNetworkConfig } from "./network-config.ts";

const config = (fields: Record<string, unknown>) => parseNetworkConfig(JSON.stringify(fields));
const prefixes = (...texts: string[]) => texts.map((text) => parsePrefix(text));
const texts = (subnets: readonly Prefix[]) => subnets.map((subnet) => formatPrefix(subnet));

/** Small enough to try every subnet. */
const smallConfig = fc
  .record({
    length: fc.integer({ min: 20, max: 28 }),
    more: fc.integer({ min: 0, max: 7 }),
    min: fc.option(fc.nat({ max: 255 }), { nil: undefined }),
    max: fc.option(fc.nat({ max: 255 }), { nil: undefined }),
  })
  .map(({ length, more, min, max }): NetworkConfig | undefined => {
    try {
      return config({
        Network: `10.5.0.0/${length}`,
        SubnetLen: Math.min(30, length + more),
        ...(min !== undefined && { SubnetMin: `10.5.0.${min}` }),
        ...(max !== undefined && { SubnetMax: `10.5.0.${max}` }),
      });
    } catch {
      return undefined;
    }
  })
  .filter((parsed) => parsed !== undefined);

const taken = fc.array(
  fc
    .tuple(fc.bigInt({ min: 0n, max: 0xfffn }), fc.integer({ min: 12, max: 32 }))
    .map(([offset, length]) => networkOf({ family: 4, value: 0x0a05_0000n + offset }, length)),
  { maxLength: 12 },
);

/** What freeSubnets() is meant to find, found the slow way. */
function everyFree(parsed: NetworkConfig, others: readonly Prefix[]): Prefix[] {
  const found: Prefix[] = [];
  const size = 1n << BigInt(32 - parsed.subnetLength);
  for (let { value } = parsed.subnetMin; value <= parsed.subnetMax.value; value += size) {
    const subnet: Prefix = { address: { family: 4, value }, length: parsed.subnetLength };
    if (!others.some((other) => overlaps(subnet, other))) found.push(subnet);
  }
  return found;
}

describe("freeSubnets()", () => {
  test("freeSubnets() finds the first free subnets in order, overlapping no lease of whatever length", () => {
    fc.assert(
      fc.property(smallConfig, taken, fc.integer({ min: 1, max: 150 }), (parsed, others, limit) => {
        expect(texts(freeSubnets(parsed, others, limit))).toEqual(texts(everyFree(parsed, others).slice(0, limit)));
      }),
      { numRuns: 500 },
    );
  });

  test("freeSubnets() gives the hundred first of an empty network", () => {
    const free = freeSubnets(config({ Network: "10.5.0.0/16" }), []);
    expect([free.length, ...texts([free[0], free[99]].filter((subnet) => subnet !== undefined))]).toEqual([
      100,
      "10.5.1.0/24",
      "10.5.100.0/24",
    ]);
  });

  test("freeSubnets() is empty when all is taken, by one lease or by many", () => {
    const parsed = config({ Network: "10.5.0.0/20" });
    expect(freeSubnets(parsed, prefixes("10.5.0.0/16"))).toEqual([]);
    expect(freeSubnets(parsed, prefixes("0.0.0.0/1"))).toEqual([]);
    const all = Array.from({ length: 15 }, (_, index) => parsePrefix(`10.5.${index + 1}.0/24`));
    expect(freeSubnets(parsed, all)).toEqual([]);
    expect(texts(freeSubnets(parsed, all.toSpliced(7, 1)))).toEqual(["10.5.8.0/24"]);
  });

  test("freeSubnets() ends at the end of the address space", () => {
    const parsed = config({ Network: "255.255.255.0/24", SubnetLen: 26 });
    expect(texts(freeSubnets(parsed, []))).toEqual(["255.255.255.64/26", "255.255.255.128/26", "255.255.255.192/26"]);
    expect(freeSubnets(parsed, prefixes("255.255.255.0/24"))).toEqual([]);
  });

  test("freeSubnets() minds a lease of a single address at either end of a subnet", () => {
    const others = prefixes("10.5.1.0/32", "10.5.3.255/32");
    expect(texts(freeSubnets(config({ Network: "10.5.0.0/22" }), others))).toEqual(["10.5.2.0/24"]);
  });

  test("freeSubnets() minds no lease outside the range or of the other family", () => {
    const parsed = config({ Network: "10.5.0.0/22" });
    const others = prefixes("10.4.255.0/24", "10.6.0.0/16", "fc00::/7", "::/0", "10.5.0.0/24");
    expect(texts(freeSubnets(parsed, others))).toEqual(["10.5.1.0/24", "10.5.2.0/24", "10.5.3.0/24"]);
  });

  test("freeSubnets() steps over large leases and does not walk through them", () => {
    const parsed = config({ Network: "0.0.0.0/1", SubnetLen: 30 });
    const before = performance.now();
    const others = prefixes("0.0.0.0/2", "64.0.0.0/3", "96.0.0.0/4");
    expect(texts(freeSubnets(parsed, others, 1))).toEqual(["112.0.0.0/30"]);
    expect(performance.now() - before).toBeLessThan(10_000); // walking takes minutes
  });

  test("freeSubnets() of fifty thousand leases takes no time worth speaking of", () => {
    const parsed = config({ Network: "10.0.0.0/8", SubnetLen: 26 });
    const others = freeSubnets(parsed, [], 50_000).toReversed();
    expect(others).toHaveLength(50_000);
    const before = performance.now();
    expect(texts(freeSubnets(parsed, others, 1))).toEqual(["10.48.212.64/26"]);
    expect(performance.now() - before).toBeLessThan(20_000); // comparing each with each takes a minute
  });
});

describe("fitsConfig()", () => {
  test("fitsConfig() holds for exactly the subnets between the ends", () => {
    fc.assert(
      fc.property(
        smallConfig,
        fc.bigInt({ min: 0n, max: 0xfffn }),
        fc.integer({ min: 18, max: 32 }),
        (parsed, offset, length) => {
          const subnet: Prefix = { address: { family: 4, value: 0x0a05_0000n + offset }, length };
          const expected = everyFree(parsed, []).some((each) => equalPrefix(each, subnet));
          expect(fitsConfig(subnet, parsed)).toBe(expected);
        },
      ),
      { numRuns: 500 },
    );
  });

  test.each(["10.5.0.0/24", "10.6.0.0/24", "10.5.1.1/24", "10.5.1.0/25", "10.5.0.0/16", "fc00::/24"])(
    "fitsConfig() is false for %s in 10.5.0.0/16",
    (text) => {
      expect(fitsConfig(parsePrefix(text), config({ Network: "10.5.0.0/16" }))).toBe(false);
    },
  );
});

test("isFree() is false as soon as one lease overlaps", () => {
  const subnet = parsePrefix("10.5.1.0/24");
  expect(isFree(subnet, prefixes("10.5.0.0/24", "10.5.2.0/23", "::/0"))).toBe(true);
  for (const other of ["10.5.1.0/24", "10.5.0.0/16", "10.5.1.255/32"])
    expect(isFree(subnet, prefixes("10.5.0.0/24", other))).toBe(false);
});

test("formatRange() names the first and the last subnet", () => {
  const parsed = config({ Network: "10.5.0.0/16" });
  expect(formatRange(parsed)).toBe("10.5.1.0/24 to 10.5.255.0/24");
  expect(compareAddress(parsed.subnetMin, parsed.subnetMax)).toBeLessThan(0);
  expect(containsAddress(parsed.network, parsed.subnetMax)).toBe(true);
});
