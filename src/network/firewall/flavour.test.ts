import { expect, test } from "vitest";
import type { FirewallSurvey, XtablesSurvey } from "../../kernel/firewall/firewall.ts";
import { chooseFlavour, type FlavourChoice } from "./flavour.ts";

const NONE: XtablesSurvey = { installed: false, tables: [], inUse: false };
const UNUSED: XtablesSurvey = { installed: true, tables: [], inUse: false };
const USED: XtablesSurvey = { installed: true, tables: ["nat"], inUse: true };
/** Debian as it is installed. */
const PLAIN: FirewallSurvey = { nftables: true, isOurs: false, nft: UNUSED, legacy: UNUSED, usual: "nft" };

test.each<[string, FlavourChoice, Partial<FirewallSurvey>, string | undefined]>([
  ["a host without rules", "auto", {}, "nftables"],
  ["a host with rules of iptables-nft", "auto", { nft: USED }, "iptables-nft"],
  ["a host with rules of the old iptables", "auto", { legacy: USED, usual: "legacy" }, "iptables-legacy"],
  ["a host whose rules are not what it calls iptables", "auto", { legacy: USED }, "iptables-legacy"],
  ["a host with rules of both", "auto", { nft: USED, legacy: USED, usual: "legacy" }, "iptables-legacy"],
  ["a host where our rules stand in nftables", "auto", { nft: USED, isOurs: true }, "nftables"],
  ["a host without nft", "auto", { nftables: false }, "iptables-nft"],
  ["an old host", "auto", { nftables: false, nft: NONE, usual: "legacy" }, "iptables-legacy"],
  ["a host without any program", "auto", { nftables: false, nft: NONE, legacy: NONE, usual: undefined }, undefined],
  ["a host with rules whose program is missing", "auto", { nft: { ...USED, installed: false } }, "nftables"],
  ["a host without rules", "iptables", {}, "iptables-nft"],
  ["a host with rules of the old iptables", "iptables", { legacy: USED }, "iptables-legacy"],
  ["a host where our rules stand in nftables", "iptables", { isOurs: true }, "iptables-nft"],
  ["a host without iptables", "iptables", { nft: NONE, legacy: NONE, usual: undefined }, undefined],
  ["a host with rules of iptables-nft", "nftables", { nft: USED }, "nftables"],
  ["a host without nft", "nftables", { nftables: false }, undefined],
  ["any host", "none", { nft: USED }, undefined],
])("chooseFlavour() on %s with --firewall=%s", (_, choice, survey, flavour) => {
  expect(chooseFlavour(choice, { ...PLAIN, ...survey })?.flavour).toBe(flavour);
});
