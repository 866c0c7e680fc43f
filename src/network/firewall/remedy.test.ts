import { expect, test } from "vitest";
import { parsePrefix } from "../../ip/prefix.ts";
import { remedyFor, type Stopped } from "./remedy.ts";

const OVERLAY = { network: parsePrefix("10.5.0.0/16") };
const OVERLAY_OF_IPV6 = { network: parsePrefix("fd00:5::/48") };
const PORT = { port: 8472 };

test.each<[string, string, Stopped, string | undefined]>([
  ["inet firewalld", "filter_FWD_public", OVERLAY, "--zone=trusted --add-source=10.5.0.0/16"],
  ["inet firewalld", "filter_FORWARD", OVERLAY_OF_IPV6, "--zone=trusted --add-source=fd00:5::/48"],
  ["inet firewalld", "filter_IN_public", PORT, "--zone=public --add-port=8472/udp"],
  ["inet firewalld", "filter_IN_drop", PORT, "--zone=drop --add-port=8472/udp"],
  ["inet firewalld", "filter_IN_policy_guests", PORT, "--add-port=8472/udp"],
  ["inet firewalld", "filter_INPUT", PORT, "--add-port=8472/udp"],
  ["iptables-nft filter", "IN_public", PORT, "--zone=public --add-port=8472/udp"],
  ["iptables-legacy filter", "IN_work", PORT, "--zone=work --add-port=8472/udp"],
  ["iptables-nft filter", "INPUT", PORT, undefined],
  ["iptables-nft filter", "IN_$(reboot)", PORT, undefined],
  ["inet firewalld_policy_drop", "filter_INPUT", PORT, undefined],
  ["inet site", "filter_IN_public", PORT, undefined],
])("remedyFor() names what to tell the program whose rule it is: %s %s", (table, chain, stopped, expected) => {
  expect(remedyFor({ table, chain, rule: "drop" }, stopped)).toBe(
    expected && `firewall-cmd --permanent ${expected} && firewall-cmd --reload`,
  );
});
