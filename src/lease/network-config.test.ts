import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { addressBits, compareAddress, formatAddress } from "../ip/address.ts";
import { containsPrefix, formatPrefix, isNetwork } from "../ip/prefix.ts";
import { InvalidConfigError } from "../lib/errors.ts";
import { parseNetworkConfig, rangesOf, type SubnetRange } from "./network-config.ts";

/** As one line: `10.5.0.0/16 10.5.1.0-10.5.255.0/24 udp`. */
function summary(text: string): string {
  const { network, subnetLength, subnetMin, subnetMax, backend } = parseNetworkConfig(text);
  return `${formatPrefix(network)} ${formatAddress(subnetMin)}-${formatAddress(subnetMax)}/${subnetLength} ${backend.type}`;
}

function refusal(text: string): InvalidConfigError {
  try {
    parseNetworkConfig(text);
  } catch (error) {
    if (error instanceof InvalidConfigError) return error;
    throw error;
  }
  throw new Error(`accepted: ${text}`);
}

describe("defaults, as 0.7.0 has them", () => {
  test.each([
    ['{"Network":"10.5.0.0/16"}', "10.5.0.0/16 10.5.1.0-10.5.255.0/24 udp"],
    ['{"Network":"10.5.77.3/16"}', "10.5.0.0/16 10.5.1.0-10.5.255.0/24 udp"],
    ['{"Network":"10.0.0.0/8","SubnetLen":20}', "10.0.0.0/8 10.0.16.0-10.255.240.0/20 udp"],
    ['{"Network":"10.5.0.0/22"}', "10.5.0.0/22 10.5.1.0-10.5.3.0/24 udp"],
    ['{"Network":"10.5.0.0/24"}', "10.5.0.0/24 10.5.0.128-10.5.0.128/25 udp"],
    ['{"Network":"10.5.0.0/29"}', "10.5.0.0/29 10.5.0.4-10.5.0.4/30 udp"],
    ['{"Network":"10.5.0.0/24","SubnetLen":24}', "10.5.0.0/24 10.5.0.0-10.5.0.0/24 udp"],
    ['{"Network":"10.5.0.0/30","SubnetLen":30}', "10.5.0.0/30 10.5.0.0-10.5.0.0/30 udp"],
    ['{"Network":"10.5.0.0/16","SubnetLen":0}', "10.5.0.0/16 10.5.1.0-10.5.255.0/24 udp"],
    [
      '{"Network":"10.5.0.0/16","SubnetMin":"10.5.10.0","SubnetMax":"10.5.20.0"}',
      "10.5.0.0/16 10.5.10.0-10.5.20.0/24 udp",
    ],
    ['{"Network":"10.5.0.0/16","SubnetMin":"0.0.0.0","SubnetMax":"0.0.0.0"}', "10.5.0.0/16 10.5.1.0-10.5.255.0/24 udp"],
    ['{"Network":"10.5.0.0/16","SubnetMin":"10.5.0.0"}', "10.5.0.0/16 10.5.0.0-10.5.255.0/24 udp"],
    ['{"Network":"255.255.0.0/16"}', "255.255.0.0/16 255.255.1.0-255.255.255.0/24 udp"],
    [
      '{"network":"10.5.0.0/16","SUBNETLEN":25,"x":[],"backend":{"TYPE":"VXLAN"}}',
      "10.5.0.0/16 10.5.0.128-10.5.255.128/25 vxlan",
    ],
    ['{"Network":"10.5.0.0/16","Backend":{}}', "10.5.0.0/16 10.5.1.0-10.5.255.0/24 udp"],
    ['{"Network":"10.5.0.0/16","Backend":{"Type":""}}', "10.5.0.0/16 10.5.1.0-10.5.255.0/24 udp"],
    ['{"Network":"10.5.0.0/16","Backend":null,"SubnetLen":null}', "10.5.0.0/16 10.5.1.0-10.5.255.0/24 udp"],
    ['{"Network":"10.9.0.0/16","NETWORK":"10.5.0.0/16"}', "10.5.0.0/16 10.5.1.0-10.5.255.0/24 udp"],
    [' \n{"Network":"10.5.0.0/16"}\n', "10.5.0.0/16 10.5.1.0-10.5.255.0/24 udp"],
  ])("parseNetworkConfig() reads %s", (text, expected) => {
    expect(summary(text)).toBe(expected);
  });

  test("parseNetworkConfig() keeps the backend's options as they were written", () => {
    const { backend } = parseNetworkConfig('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":7,"x":null}}');
    expect(backend).toEqual({ type: "vxlan", options: { Type: "vxlan", VNI: 7, x: null } });
  });
});

describe("warnings", () => {
  test.each([
    ["/23", 24, 25],
    ["/24", 25, 26],
    ["/28", 29, 30],
  ])("parseNetworkConfig() warns where later releases have another default: %s", (length, here, later) => {
    const { subnetLength, warnings } = parseNetworkConfig(`{"Network":"10.5.0.0${length}"}`);
    expect(subnetLength).toBe(here);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(new RegExp(`SubnetLen.*/${here} .*/${later}`));
  });

  test.each(["/8", "/16", "/22"])("parseNetworkConfig() does not warn where all agree: %s", (length) => {
    expect(parseNetworkConfig(`{"Network":"10.0.0.0${length}"}`).warnings).toEqual([]);
  });

  test("parseNetworkConfig() rounds SubnetMin and SubnetMax inwards and says so", () => {
    const text = '{"Network":"10.5.0.0/16","SubnetMin":"10.5.3.1","SubnetMax":"10.5.9.255"}';
    expect(summary(text)).toBe("10.5.0.0/16 10.5.4.0-10.5.9.0/24 udp");
    const { warnings } = parseNetworkConfig(text);
    expect(warnings).toEqual([
      "SubnetMin 10.5.3.1 is not the first address of a /24: 10.5.4.0 is used",
      "SubnetMax 10.5.9.255 is not the first address of a /24: 10.5.9.0 is used",
    ]);
  });

  test("parseNetworkConfig() says that an IPv6Network counts only with EnableIPv6", () => {
    const { ipv6, warnings } = parseNetworkConfig('{"Network":"10.5.0.0/16","IPv6Network":"fd00::/48"}');
    expect(ipv6).toBeUndefined();
    expect(warnings).toEqual(["IPv6Network is ignored, since EnableIPv6 is not true"]);
  });
});

describe("bad input", () => {
  test.each([
    ["", "", "not JSON"],
    ["{", "", "not JSON"],
    ['{"Network":"10.5.0.0/16",}', "", "not JSON"],
    ["null", "", "null"],
    ["[]", "", "[]"],
    ['"10.5.0.0/16"', "", '"10.5.0.0/16"'],
    ["{}", "Network", "is missing"],
    ['{"Network":null}', "Network", "is missing"],
    ['{"__proto__":{"Network":"10.5.0.0/16"}}', "Network", "is missing"],
    ['{"Network":5}', "Network", "5"],
    ['{"Network":""}', "Network", '""'],
    ['{"Network":"10.5.0.0"}', "Network", '"10.5.0.0"'],
    ['{"Network":"10.5.0.0/33"}', "Network", '"10.5.0.0/33"'],
    ['{"Network":"010.5.0.0/16"}', "Network", '"010.5.0.0/16"'],
    ['{"Network":"fc00::/64"}', "Network", '"fc00::/64"'],
    ['{"Network":"0.0.0.0/0"}', "Network", '"0.0.0.0/0"'],
    ['{"Network":"127.1.0.0/16"}', "Network", '"127.1.0.0/16"'],
    ['{"Network":"224.0.0.0/8"}', "Network", '"224.0.0.0/8"'],
    ['{"Network":"10.5.0.0/30"}', "SubnetLen", "10.5.0.0/30"],
    ['{"Network":"10.5.0.0/32"}', "SubnetLen", "10.5.0.0/32"],
    ['{"Network":"10.5.0.0/16","SubnetLen":31}', "SubnetLen", "31"],
    ['{"Network":"10.5.0.0/16","SubnetLen":-1}', "SubnetLen", "-1"],
    ['{"Network":"10.5.0.0/16","SubnetLen":24.5}', "SubnetLen", "24.5"],
    ['{"Network":"10.5.0.0/16","SubnetLen":1e300}', "SubnetLen", "1e+300"],
    ['{"Network":"10.5.0.0/16","SubnetLen":"24"}', "SubnetLen", '"24"'],
    ['{"Network":"10.5.0.0/16","SubnetLen":15}', "SubnetLen", "15"],
    ['{"Network":"10.5.0.0/16","SubnetMin":"10.6.0.0"}', "SubnetMin", "10.6.0.0"],
    ['{"Network":"10.5.0.0/16","SubnetMax":"10.4.255.0"}', "SubnetMax", "10.4.255.0"],
    ['{"Network":"10.5.0.0/16","SubnetMin":"fe80::1"}', "SubnetMin", '"fe80::1"'],
    ['{"Network":"10.5.0.0/16","SubnetMax":"10.5.0"}', "SubnetMax", '"10.5.0"'],
    ['{"Network":"10.5.0.0/16","SubnetMin":5}', "SubnetMin", "5"],
    ['{"Network":"10.5.0.0/16","SubnetMin":"10.5.9.0","SubnetMax":"10.5.8.0"}', "SubnetMin", "10.5.9.0"],
    ['{"Network":"10.5.0.0/16","SubnetMin":"10.5.255.1"}', "SubnetMin", "10.5.255.1"],
    ['{"Network":"255.255.255.0/24","SubnetLen":26,"SubnetMin":"255.255.255.250"}', "SubnetMin", "255.255.255.250"],
    ['{"Network":"10.5.0.0/16","Backend":"vxlan"}', "Backend", '"vxlan"'],
    ['{"Network":"10.5.0.0/16","Backend":[]}', "Backend", "[]"],
    ['{"Network":"10.5.0.0/16","Backend":{"Type":5}}', "Backend.Type", "5"],
    ['{"Network":"10.5.0.0/16","EnableIPv4":false}', "EnableIPv4", "false"],
    ['{"Network":"10.5.0.0/16","EnableIPv4":"yes"}', "EnableIPv4", '"yes"'],
  ])("parseNetworkConfig() refuses %s, naming the field and its value", (text, path, value) => {
    const error = refusal(text);
    expect(error.path).toBe(path);
    expect(error.message).toContain(value);
    expect(error.message.startsWith(path)).toBe(true);
  });

  test("parseNetworkConfig() does not repeat all of a long value", () => {
    expect(refusal(JSON.stringify({ Network: 5, SubnetLen: "x".repeat(10_000) })).message.length).toBeLessThan(300);
    expect(
      refusal(JSON.stringify({ Network: "10.5.0.0/16", SubnetMin: "9".repeat(10_000) })).message.length,
    ).toBeLessThan(300);
    expect(refusal(JSON.stringify({ Network: "9".repeat(10_000) })).message.length).toBeLessThan(300);
  });
});

describe("any input", () => {
  const near = fc.tuple(fc.nat({ max: 255 }), fc.nat({ max: 255 })).map(([third, last]) => `10.5.${third}.${last}`);
  const address = fc.oneof(
    { arbitrary: near, weight: 5 },
    { arbitrary: fc.constantFrom("255.255.255.255", "255.255.255.0", "0.0.0.0", "x"), weight: 1 },
    { arbitrary: fc.ipV4(), weight: 1 },
  );
  const config = fc.record(
    {
      Network: fc.tuple(address, fc.integer({ min: 0, max: 33 })).map(([ip, length]) => `${ip}/${length}`),
      SubnetLen: fc.integer({ min: -1, max: 33 }),
      SubnetMin: address,
      SubnetMax: address,
      Backend: fc.oneof(
        { arbitrary: fc.record({ Type: fc.string() }), weight: 5 },
        { arbitrary: fc.jsonValue(), weight: 1 },
      ),
    },
    { requiredKeys: ["Network"] },
  );

  test("parseNetworkConfig() gives a range that makes sense, or InvalidConfigError", () => {
    let accepted = 0;
    fc.assert(
      fc.property(fc.oneof(config, fc.jsonValue()), (json) => {
        const text = JSON.stringify(json);
        let parsed: ReturnType<typeof parseNetworkConfig>;
        try {
          parsed = parseNetworkConfig(text);
        } catch (error) {
          if (!(error instanceof InvalidConfigError)) throw error;
          return;
        }
        accepted++;
        const { network, subnetLength, subnetMin, subnetMax } = parsed;
        expect(subnetLength).toBeLessThanOrEqual(30);
        for (const end of [subnetMin, subnetMax]) {
          expect(isNetwork({ address: end, length: subnetLength })).toBe(true);
          expect(containsPrefix(network, { address: end, length: subnetLength })).toBe(true);
        }
        expect(compareAddress(subnetMin, subnetMax)).toBeLessThanOrEqual(0);
        expect(addressBits(network.address.family)).toBe(32);
      }),
      { numRuns: 3000 },
    );
    expect(accepted).toBeGreaterThan(50);
  });

  test("parseNetworkConfig() throws nothing but InvalidConfigError for any text", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...Array.from('{}[]":,\\ntwork/1059.NE ')) }), (text) => {
        expect(() => parseNetworkConfig(text)).toThrow(InvalidConfigError);
      }),
    );
  });
});

describe("IPv6", () => {
  const dual = (fields: string) => `{"Network":"10.5.0.0/16","EnableIPv6":true${fields}}`;
  const range = ({ network, subnetMin, subnetMax, subnetLength }: SubnetRange) =>
    `${formatPrefix(network)} ${formatAddress(subnetMin)}-${formatAddress(subnetMax)}/${subnetLength}`;

  test.each([
    ['"fd00:5::/32"', "fd00:5::/32 fd00:5:0:1::-fd00:5:ffff:ffff::/64"],
    ['"fd00:5::7/48"', "fd00:5::/48 fd00:5:0:1::-fd00:5:0:ffff::/64"],
    ['"fd00:5::/62"', "fd00:5::/62 fd00:5:0:1::-fd00:5:0:3::/64"],
    ['"fd00:5::/63"', "fd00:5::/63 fd00:5:0:0:8000::-fd00:5:0:1:8000::/65"],
    ['"fd00:5::/124"', "fd00:5::/124 fd00:5::4-fd00:5::c/126"],
    ['"fd00:5::/48","IPv6SubnetLen":56', "fd00:5::/48 fd00:5:0:100::-fd00:5:0:ff00::/56"],
    ['"fd00:5::/48","IPv6SubnetMin":"::","IPv6SubnetMax":"::"', "fd00:5::/48 fd00:5:0:1::-fd00:5:0:ffff::/64"],
    [
      '"fd00:5::/48","IPv6SubnetMin":"fd00:5:0:10::","IPv6SubnetMax":"fd00:5:0:1f::"',
      "fd00:5::/48 fd00:5:0:10::-fd00:5:0:1f::/64",
    ],
  ])("parseNetworkConfig() has the second range of IPv6Network %s as later releases", (text, expected) => {
    const config = parseNetworkConfig(dual(`,"IPv6Network":${text}`));
    expect(config.ipv6 && range(config.ipv6)).toBe(expected);
    expect(range(config)).toBe("10.5.0.0/16 10.5.1.0-10.5.255.0/24");
    expect(config.warnings).toEqual([]);
    expect(rangesOf(config)).toEqual([config, config.ipv6]);
  });

  test("parseNetworkConfig() of a network without IPv4 has IPv6 as its own range, and no other", () => {
    const config = parseNetworkConfig('{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48"}');
    expect(range(config)).toBe("fd00:5::/48 fd00:5:0:1::-fd00:5:0:ffff::/64");
    expect(rangesOf(config)).toEqual([config]);
  });

  test("parseNetworkConfig() gives a config without IPv6 nothing that it had not before", () => {
    expect(Object.keys(parseNetworkConfig('{"Network":"10.5.0.0/16"}')).toSorted()).toEqual(
      ["backend", "network", "subnetLength", "subnetMax", "subnetMin", "warnings"].toSorted(),
    );
  });

  test.each([
    ["", "IPv6Network: is missing"],
    [',"IPv6Network":"10.6.0.0/16"', 'IPv6Network: must be an IPv6 network, not "10.6.0.0/16"'],
    [',"IPv6Network":"fd00::"', 'IPv6Network: not a network in CIDR form, as 10.5.0.0/16: "fd00::"'],
    [',"IPv6Network":"::/0"', 'IPv6Network: must not be the whole Internet: "::/0"'],
    [',"IPv6Network":"fe80::/64"', 'IPv6Network: no host can have an address in "fe80::/64"'],
    [',"IPv6Network":"ff00::/8"', 'IPv6Network: no host can have an address in "ff00::/8"'],
    [
      ',"IPv6Network":"fd00::/125"',
      "IPv6SubnetLen: a IPv6Network of /125 leaves no room for subnets of at most /126: fd00::/125",
    ],
    [',"IPv6Network":"fd00::/48","IPv6SubnetLen":127', "IPv6SubnetLen: must be a whole number from 0 to 126, not 127"],
    [
      ',"IPv6Network":"fd00::/48","IPv6SubnetLen":32',
      "IPv6SubnetLen: 32 is a larger network than IPv6Network fd00::/48",
    ],
    [
      ',"IPv6Network":"fd00::/48","IPv6SubnetMin":"10.5.0.0"',
      'IPv6SubnetMin: must be an IPv6 address, not the IPv4 address "10.5.0.0"',
    ],
    [
      ',"IPv6Network":"fd00::/48","IPv6SubnetMax":"fd01::"',
      "IPv6SubnetMax: fd01:: is not in the range of the IPv6Network fd00::/48",
    ],
    [
      ',"IPv6Network":"fd00::/48","IPv6SubnetMin":"fd00:0:0:9::","IPv6SubnetMax":"fd00:0:0:8::"',
      "IPv6SubnetMin: no /64 lies between IPv6SubnetMin fd00:0:0:9:: and IPv6SubnetMax fd00:0:0:8::",
    ],
  ])("parseNetworkConfig() refuses %s by field and value", (fields, message) => {
    expect(() => parseNetworkConfig(dual(fields))).toThrow(message);
  });

  test("parseNetworkConfig() refuses a network without any family", () => {
    const text = '{"Network":"10.5.0.0/16","EnableIPv4":false}';
    expect(() => parseNetworkConfig(text)).toThrow("EnableIPv4: must not be false where EnableIPv6 is not true");
  });
});
