import { expect, test } from "vitest";
import type { Family } from "../../ip/address.ts";
import { parsePrefix } from "../../ip/prefix.ts";
import { formatRule, ipsetName, isIpsetName, nftTableName, xtablesChainName } from "../../kernel/firewall/rule.ts";
import { forwardChain, masqueradeChain, underlayChain } from "./rules.ts";

const NETWORK = parsePrefix("10.5.0.0/16");

test("masqueradeChain() keeps addresses inside the overlay, to pods of this host, for excluded networks and multicast, and leaves marks to kube-proxy", () => {
  const excluded = [parsePrefix("192.0.2.0/24"), parsePrefix("2001:db8::/32")];
  const { rules } = masqueradeChain({ network: NETWORK, subnet: parsePrefix("10.5.3.0/24"), excluded });
  expect(rules.map(formatRule)).toEqual([
    "-m mark --mark 0x4000/0x4000 -j RETURN",
    "-s 10.5.3.0/24 -d 10.5.0.0/16 -j RETURN",
    "-s 10.5.0.0/16 -d 10.5.3.0/24 -j RETURN",
    "! -s 10.5.0.0/16 -d 10.5.3.0/24 -j RETURN",
    "-s 10.5.0.0/16 -d 192.0.2.0/24 -j RETURN",
    "-s 192.0.2.0/24 -d 10.5.0.0/16 -j RETURN",
    "-s 10.5.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE",
    "! -s 10.5.0.0/16 -d 10.5.0.0/16 -j MASQUERADE",
  ]);
});

test("masqueradeChain() is the same for IPv6", () => {
  const excluded = [parsePrefix("192.0.2.0/24"), parsePrefix("2001:db8::/32")];
  const network = parsePrefix("fd00:5::/48");
  const { rules } = masqueradeChain({ network, subnet: parsePrefix("fd00:5:0:3::/64"), excluded });
  expect(rules.map(formatRule).slice(3)).toEqual([
    "! -s fd00:5::/48 -d fd00:5:0:3::/64 -j RETURN",
    "-s fd00:5::/48 -d 2001:db8::/32 -j RETURN",
    "-s 2001:db8::/32 -d fd00:5::/48 -j RETURN",
    "-s fd00:5::/48 ! -d ff00::/8 -j MASQUERADE",
    "! -s fd00:5::/48 -d fd00:5::/48 -j MASQUERADE",
  ]);
});

test("forwardChain() accepts what comes from the overlay and what goes there", () => {
  expect(forwardChain(NETWORK).rules.map(formatRule)).toEqual(["-s 10.5.0.0/16 -j ACCEPT", "-d 10.5.0.0/16 -j ACCEPT"]);
});

test("underlayChain() drops only what is of our port and VNI, and comes from nobody who may send it", () => {
  const acceptFrom = [parsePrefix("198.51.100.0/24"), parsePrefix("2001:db8::/32")];
  const rules = (family: Family) => underlayChain({ port: 8472, vni: 7, acceptFrom }, family).rules.map(formatRule);
  expect(rules(4)).toEqual([
    "-p udp --dport 8472 vni 7 from peers -j RETURN",
    "-p udp --dport 8472 vni 7 -s 198.51.100.0/24 -j RETURN",
    "-p udp --dport 8472 vni 7 -j DROP",
  ]);
  expect(rules(6)[1]).toBe("-p udp --dport 8472 vni 7 -s 2001:db8::/32 -j RETURN");
});

test.each([
  [
    "255.255.255.254/31",
    /^FLANNEL-F-255\.255\.255\.254-31$/,
    "flannel-255.255.255.254-31",
    /^flannel-255\.255\.255\.254-31$/,
  ],
  ["fd00:5::/48", /^FLANNEL-F-fd00_5__-48$/, "flannel-fd00_5__-48", /^flannel-fd00_5__-48$/],
  [
    "fd00:1111:2222:3333::/64",
    /^FLANNEL-F-[0-9a-f]{16}$/,
    "flannel-fd00_1111_2222_3333__-64",
    /^flannel-[0-9a-f]{16}$/,
  ],
])("the chains and the set of %s have names that programs take", (network, chain, table, set) => {
  const prefix = parsePrefix(network);
  expect(xtablesChainName("forward", prefix).length).toBeLessThanOrEqual(28);
  expect(xtablesChainName("forward", prefix)).toMatch(chain);
  expect(nftTableName(prefix)).toBe(table);
  expect(ipsetName(prefix)).toMatch(set);
  expect(ipsetName(prefix).length).toBeLessThanOrEqual(31);
  expect(isIpsetName(ipsetName(prefix))).toBe(true);
});
