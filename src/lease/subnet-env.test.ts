import * as fc from "fast-check";
import { expect, test } from "vitest";
import { networkOf, parsePrefix } from "../ip/prefix.ts";
import { formatSubnetEnv, parseSubnetEnv } from "./subnet-env.ts";

const asWrittenBy070 = `FLANNEL_NETWORK=10.5.0.0/16
FLANNEL_SUBNET=10.5.16.1/24
FLANNEL_MTU=1472
FLANNEL_IPMASQ=true
`;

const example = {
  network: parsePrefix("10.5.0.0/16"),
  subnet: parsePrefix("10.5.16.1/24"),
  mtu: 1472,
  ipMasq: true,
};

test("formatSubnetEnv() writes byte for byte what 0.7.0 writes", () => {
  expect(formatSubnetEnv(example)).toBe(asWrittenBy070);
});

test("parseSubnetEnv() reads what 0.7.0 writes", () => {
  expect(parseSubnetEnv(asWrittenBy070)).toEqual(example);
});

test("parseSubnetEnv() of formatSubnetEnv() gives the same back", () => {
  const address = fc.nat().map((value) => ({ family: 4 as const, value: BigInt(value) }));
  const env = fc.record({
    network: fc.tuple(address, fc.nat(32)).map(([address, length]) => networkOf(address, length)),
    subnet: fc.record({ address, length: fc.nat(32) }),
    mtu: fc.integer({ min: 1, max: 65_535 }),
    ipMasq: fc.boolean(),
  });
  fc.assert(
    fc.property(env, (env) => {
      expect(parseSubnetEnv(formatSubnetEnv(env))).toEqual(env);
    }),
  );
});

test("parseSubnetEnv() takes quotes, comments, export and variables of later releases", () => {
  const text = `# by hand\nexport FLANNEL_NETWORK="10.5.0.0/16"\n\nFLANNEL_SUBNET='10.5.16.1/24'\nFLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true`;
  expect(parseSubnetEnv(text)).toEqual(example);
});

test.each([
  ["FLANNEL_MTU=1472\n", "", "FLANNEL_MTU: missing"],
  ["FLANNEL_MTU=1472", "FLANNEL_MTU=1.5k", 'FLANNEL_MTU: not a number of bytes: "1.5k"'],
  ["10.5.16.1/24", "10.5.16.1/33", 'FLANNEL_SUBNET: prefix length is not 0 to 32: "10.5.16.1/33"'],
  ["=true", "=yes", 'FLANNEL_IPMASQ: neither true nor false: "yes"'],
])("parseSubnetEnv() names what is wrong when %j is %j", (right, wrong, message) => {
  expect(() => parseSubnetEnv(asWrittenBy070.replace(right, wrong))).toThrow(message);
});
