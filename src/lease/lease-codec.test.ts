import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Address, parseAddress } from "../ip/address.ts";
import { networkOf, parsePrefix } from "../ip/prefix.ts";
import { InvalidConfigError } from "../lib/errors.ts";
import type { Json, LeaseAttributes } from "./lease.ts";
import { attributesFromJson, formatAttributes, formatLeaseKey, parseAttributes, parseLeaseKey } from "./lease-codec.ts";

const ipv4 = fc.bigInt({ min: 0n, max: 0xffff_ffffn }).map((value): Address => ({ family: 4, value }));
const ipv6 = fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }).map((value): Address => ({ family: 6, value }));

describe("keys", () => {
  test("formatLeaseKey() writes the keys of every flannel", () => {
    const subnet = parsePrefix("10.5.34.0/24");
    expect(formatLeaseKey({ subnet })).toBe("10.5.34.0-24");
    expect(formatLeaseKey({ subnet, ipv6Subnet: parsePrefix("fc00::/64") })).toBe("10.5.34.0-24&fc00::-64");
    expect(formatLeaseKey({ subnet: parsePrefix("fc00::/64") })).toBe("0.0.0.0-0&fc00::-64");
  });

  test("parseLeaseKey() reads back what formatLeaseKey() writes", () => {
    const subnet = fc
      .tuple(ipv4, fc.integer({ min: 1, max: 32 }))
      .map(([address, length]) => networkOf(address, length));
    const ipv6Subnet = fc
      .tuple(ipv6, fc.integer({ min: 1, max: 128 }))
      .map(([address, length]) => networkOf(address, length));
    const subnets = fc.oneof(
      fc.record({ subnet }),
      fc.record({ subnet, ipv6Subnet }),
      fc.record({ subnet: ipv6Subnet }),
    );
    fc.assert(
      fc.property(subnets, (each) => {
        expect(parseLeaseKey(formatLeaseKey(each))).toEqual(each);
      }),
    );
  });

  test.each([
    "",
    "config",
    "10.5.34.0",
    "10.5.34.0/24",
    "10.5.34.0-",
    "10.5.34.0-33",
    "10.5.34.0-024",
    "10.5.34.0--24",
    "10.5.34.0-24 ",
    " 10.5.34.0-24",
    "10.5.34.0-24\n",
    "10.5.34.1-24",
    "010.5.34.0-24",
    "10.5.34-24",
    "10x5x34x0-24",
    "0.0.0.0-0",
    "x10.5.34.0-24x",
    "fc00::-64",
    "10.5.34.0-24&",
    "10.5.34.0-24&10.6.0.0-24",
    "10.5.34.0-24&fc00::-129",
    "10.5.34.0-24&fc00::1-64",
    "10.5.34.0-24&FC00::-64",
    "10.5.34.0-24&fc00:0::-64",
    "10.5.34.0-24&fc00::-64&fc01::-64",
    "&fc00::-64",
    "__proto__",
  ])("parseLeaseKey() refuses %j", (key) => {
    expect(() => parseLeaseKey(key)).toThrow(InvalidConfigError);
  });

  test("parseLeaseKey() reads only keys that formatLeaseKey() writes", () => {
    const part = fc
      .tuple(
        fc.constantFrom("10.5.34.0", "10.5.0.0", "10.5.34.1", "fc00::", "fc00:0::", "FC00::", ""),
        fc.constantFrom("-", "/", ""),
        fc.constantFrom("24", "16", "64", "0", "024", "x", ""),
      )
      .map((pieces) => pieces.join(""));
    const key = fc.oneof(
      part,
      fc.tuple(part, fc.constantFrom("&", "", "&&"), part).map((parts) => parts.join("")),
    );
    let accepted = 0;
    fc.assert(
      fc.property(key, (text) => {
        let subnets: ReturnType<typeof parseLeaseKey>;
        try {
          subnets = parseLeaseKey(text);
        } catch (error) {
          if (!(error instanceof InvalidConfigError)) throw error;
          return;
        }
        accepted++;
        expect(formatLeaseKey(subnets)).toBe(text);
      }),
      { numRuns: 3000 },
    );
    expect(accepted).toBeGreaterThan(5);
  });
});

const publicIP = parseAddress("192.168.77.11");
const VXLAN = { publicIP, backendType: "vxlan" };

describe("values", () => {
  test.each<[string, LeaseAttributes]>([
    ['{"PublicIP":"192.168.77.11"}', { publicIP }],
    ['{"PublicIP":"192.168.77.11","BackendType":"host-gw"}', { publicIP, backendType: "host-gw" }],
    [
      '{"PublicIP":"192.168.77.11","BackendType":"vxlan","BackendData":{"VtepMAC":"66:72:44:0d:7e:1a"}}',
      { ...VXLAN, backendData: { VtepMAC: "66:72:44:0d:7e:1a" } },
    ],
  ])("formatAttributes() writes what 0.7.0 writes: %s", (text, attributes) => {
    expect(formatAttributes(attributes, "0.7")).toBe(text);
    expect(parseAttributes(text)).toEqual(attributes);
  });

  test.each<[string, LeaseAttributes]>([
    ['{"PublicIP":"192.168.77.11","PublicIPv6":null}', { publicIP }],
    [
      '{"PublicIP":"192.168.77.11","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"66:72:44:0d:7e:1a"}}',
      { ...VXLAN, backendData: { VNI: 1, VtepMAC: "66:72:44:0d:7e:1a" } },
    ],
    [
      '{"PublicIP":"192.168.77.11","PublicIPv6":"2001:db8::1","BackendType":"vxlan","BackendData":{"VNI":1},"BackendV6Data":{"VNI":1}}',
      { ...VXLAN, publicIPv6: parseAddress("2001:db8::1"), backendData: { VNI: 1 }, backendV6Data: { VNI: 1 } },
    ],
  ])("formatAttributes() writes what later releases write: %s", (text, attributes) => {
    expect(formatAttributes(attributes, "later")).toBe(text);
    expect(parseAttributes(text)).toEqual(attributes);
  });

  test.each<[string, LeaseAttributes]>([
    [' { "publicip" : "192.168.77.11" , "BACKENDTYPE" : "vxlan" } \n', VXLAN],
    ['{"PublicIP":"192.168.77.11","BackendType":null,"BackendData":null}', { publicIP }],
    ['{"PublicIP":"192.168.77.11","BackendType":""}', { publicIP }],
    ['{"PublicIP":"192.168.77.11","Unknown":{"a":[1]}}', { publicIP }],
    ['{"PublicIP":"192.168.77.11","publicip":null}', { publicIP }],
    ['{"PublicIP":"192.168.77.11","BackendData":"text"}', { publicIP, backendData: "text" }],
    ['{"PublicIP":"192.168.77.11","BackendData":0}', { publicIP, backendData: 0 }],
  ])("parseAttributes() reads what Go would: %s", (text, attributes) => {
    expect(parseAttributes(text)).toEqual(attributes);
  });

  test.each([
    ["", "", "not JSON"],
    ["{", "", "not JSON"],
    ["null", "", "null"],
    ["[]", "", "[]"],
    ["5", "", "5"],
    ["{}", "PublicIP", "is missing"],
    ['{"PublicIP":null}', "PublicIP", "is missing"],
    ['{"__proto__":{"PublicIP":"192.0.2.1"}}', "PublicIP", "is missing"],
    ['{"__proto__":{"publicip":"192.0.2.1"}}', "PublicIP", "is missing"],
    ['{"PublicIP":5}', "PublicIP", "5"],
    ['{"PublicIP":["192.0.2.1"]}', "PublicIP", '["192.0.2.1"]'],
    ['{"PublicIP":"192.0.2"}', "PublicIP", '"192.0.2"'],
    ['{"PublicIP":"2001:db8::1"}', "PublicIP", '"2001:db8::1"'],
    ['{"PublicIP":"192.0.2.1","PublicIPv6":"192.0.2.1"}', "PublicIPv6", '"192.0.2.1"'],
    ['{"PublicIP":"192.0.2.1","BackendType":5}', "BackendType", "5"],
    ['{"PublicIP":"192.0.2.1","BackendType":{}}', "BackendType", "{}"],
  ])("parseAttributes() refuses %s, naming the field and its value", (text, path, value) => {
    expect(() => parseAttributes(text)).toThrow(InvalidConfigError);
    expect(() => parseAttributes(text)).toThrow(new RegExp(`^${path}`));
    expect(() => parseAttributes(text)).toThrow(value);
  });

  test("parseAttributes() does not repeat all of a long value", () => {
    const text = JSON.stringify({ PublicIP: "x".repeat(100_000) });
    expect(() => parseAttributes(text)).toThrow(/^.{10,200}$/);
  });

  test("parseAttributes() reads back what formatAttributes() writes", () => {
    // JSON.parse knows no -0 and gives `__proto__` back as a key of its own
    const json = fc.jsonValue({ maxDepth: 3 }).map((value) => JSON.parse(JSON.stringify(value)) as Json);
    const attributes = fc.record(
      {
        publicIP: ipv4.filter(({ value }) => value !== 0n),
        publicIPv6: ipv6,
        backendType: fc.string({ minLength: 1 }),
        backendData: json.filter((value) => value !== null),
        backendV6Data: json.filter((value) => value !== null),
      },
      { requiredKeys: ["publicIP"] },
    );
    fc.assert(
      fc.property(attributes, (each) => {
        expect(parseAttributes(formatAttributes(each, "later"))).toEqual(each);
        expect(parseAttributes(formatAttributes(each, "0.7"))).toEqual(each);
      }),
    );
  });

  test("formatAttributes() says nothing of IPv6 to a flannel of 0.7 where there is none", () => {
    expect(formatAttributes({ publicIP }, "0.7")).toBe('{"PublicIP":"192.168.77.11"}');
  });

  test("formatAttributes() writes what an IPv6-only host says as later releases do, and parseAttributes() reads it", () => {
    const attributes = { publicIP: parseAddress("2001:db8::1"), backendType: "vxlan", backendData: { VNI: 1 } };
    const text = '{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::1","BackendType":"vxlan","BackendV6Data":{"VNI":1}}';
    for (const format of ["0.7", "later"] as const) expect(formatAttributes(attributes, format)).toBe(text);
    expect(parseAttributes(text)).toEqual(attributes);
  });

  test("attributesFromJson() gives attributes or InvalidConfigError for any JSON", () => {
    const name = fc.constantFrom("PublicIP", "publicip", "PublicIPv6", "BackendType", "BackendData", "__proto__", "x");
    const value = fc.oneof(fc.jsonValue(), fc.ipV4(), fc.ipV6(), fc.constant(null));
    fc.assert(
      fc.property(fc.oneof(fc.dictionary(name, value), fc.jsonValue()), (json) => {
        try {
          expect(attributesFromJson(json)).toHaveProperty("publicIP.family");
        } catch (error) {
          if (!(error instanceof InvalidConfigError)) throw error;
        }
      }),
      { numRuns: 2000 },
    );
  });
});
