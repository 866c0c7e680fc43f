import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatPrefix } from "../ip/prefix.ts";
import { CNI_CODE, CniError } from "./cni-error.ts";
import { parseSubnetFile } from "./subnet-file.ts";

const IPV4 = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\n";
const IPV6 = "FLANNEL_IPV6_NETWORK=fd00:5::/48\nFLANNEL_IPV6_SUBNET=fd00:5:0:22::1/64\n";
const REST = "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

function parse(text: string) {
  const { networks, subnets, mtu, ipMasq } = parseSubnetFile(text, "/run/flannel/subnet.env");
  return { networks: networks.map(formatPrefix), subnets: subnets.map(formatPrefix), mtu, ipMasq };
}

function refusal(text: string): string {
  try {
    parse(text);
  } catch (error) {
    if (error instanceof CniError && error.code === CNI_CODE.undecodable) return error.message;
    throw error;
  }
  throw new Error("accepted");
}

describe("parseSubnetFile()", () => {
  test("parseSubnetFile() reads what 0.7.0 writes", () => {
    expect(parse(IPV4 + REST)).toEqual({
      networks: ["10.5.0.0/16"],
      subnets: ["10.5.34.0/24"],
      mtu: 1450,
      ipMasq: true,
    });
  });

  test("parseSubnetFile() reads both families, IPv4 first, in whatever order they stand", () => {
    expect(parse(REST + IPV6 + IPV4)).toMatchObject({
      networks: ["10.5.0.0/16", "fd00:5::/48"],
      subnets: ["10.5.34.0/24", "fd00:5:0:22::/64"],
    });
  });

  test("parseSubnetFile() reads a host that has IPv6 only", () => {
    expect(parse(IPV6 + REST)).toMatchObject({ networks: ["fd00:5::/48"], subnets: ["fd00:5:0:22::/64"] });
  });

  test("parseSubnetFile() reads several networks, each once", () => {
    const text = `${IPV4}${REST}FLANNEL_NETWORK=10.5.0.0/16, 10.6.0.0/16,10.5.0.0/16,\n`;
    expect(parse(text).networks).toEqual(["10.5.0.0/16", "10.6.0.0/16"]);
  });

  test("parseSubnetFile() passes over comments, blank lines and other variables, and reads quotes and export", () => {
    const text = `# flannel\n\nOTHER\nexport FLANNEL_NETWORK="10.5.0.0/16"\n FLANNEL_SUBNET='10.5.34.1/24' \r\nFLANNEL_NEW=1\n${REST}`;
    expect(parse(text)).toMatchObject({ networks: ["10.5.0.0/16"], subnets: ["10.5.34.0/24"] });
  });

  test("parseSubnetFile() names all that is missing at once", () => {
    expect(refusal("")).toBe(
      "/run/flannel/subnet.env is missing FLANNEL_NETWORK or FLANNEL_IPV6_NETWORK, FLANNEL_SUBNET or FLANNEL_IPV6_SUBNET, FLANNEL_MTU, FLANNEL_IPMASQ",
    );
    expect(refusal(IPV4)).toBe("/run/flannel/subnet.env is missing FLANNEL_MTU, FLANNEL_IPMASQ");
  });

  test.each([
    ["FLANNEL_MTU", 'line 5 is "FLANNEL_MTU": NAME=value is expected'],
    [
      "FLANNEL_NETWORK=10.5.0.0",
      'FLANNEL_NETWORK is "10.5.0.0": not a network in CIDR form, as 10.5.0.0/16: "10.5.0.0"',
    ],
    ["FLANNEL_NETWORK=fd00::/48", 'FLANNEL_NETWORK is "fd00::/48": IPv4 is expected'],
    ["FLANNEL_IPV6_SUBNET=10.5.0.0/24", 'FLANNEL_IPV6_SUBNET is "10.5.0.0/24": IPv6 is expected'],
    [
      "FLANNEL_SUBNET=10.5.1.1/24,10.5.2.1/24",
      'FLANNEL_SUBNET is "10.5.1.1/24,10.5.2.1/24": a host has one subnet of a family',
    ],
    ["FLANNEL_MTU=-1", 'FLANNEL_MTU is "-1": a number of bytes is expected'],
    ["FLANNEL_IPMASQ=yes", 'FLANNEL_IPMASQ is "yes": true or false is expected'],
  ])("parseSubnetFile() refuses %s and says why", (line, reason) => {
    expect(refusal(`${IPV4}${REST}${line}\n`)).toBe(`/run/flannel/subnet.env: ${reason}`);
  });

  test("parseSubnetFile() throws nothing but a CniError, whatever stands in the file", () => {
    const line = fc.oneof(
      fc.string(),
      fc
        .tuple(fc.constantFrom(...(IPV4 + IPV6 + REST).match(/FLANNEL\w+/g)!), fc.string())
        .map(([name, value]) => `${name}=${value}`),
      fc.constantFrom(...(IPV4 + IPV6 + REST).split("\n")),
    );
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        try {
          expect(parse(lines.join("\n")).subnets.length).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toBeInstanceOf(CniError);
        }
      }),
    );
  });
});
