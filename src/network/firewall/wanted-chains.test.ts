import { expect, test } from "vitest";
import { parsePrefix } from "../../ip/prefix.ts";
import { type FirewallPolicy, type Places, wantedChains } from "./wanted-chains.ts";

const OVERLAY = { network: parsePrefix("10.5.0.0/16"), subnet: parsePrefix("10.5.3.0/24") };
const POLICY: FirewallPolicy = { flavour: "auto", masquerade: true, excluded: [], clampMss: true, admission: true };
const PLACES: Places = {
  usual: "iptables-nft",
  forwarding: ["iptables-nft", "iptables-legacy"],
  admission: "nftables",
};
const ADMISSION = { port: 8472, vni: 1, acceptFrom: [] };

const chains = (places: Partial<Places> = {}, policy: Partial<FirewallPolicy> = {}, admission = ADMISSION) =>
  Object.fromEntries(
    (["nftables", "iptables-nft", "iptables-legacy"] as const).map((flavour) => [
      flavour,
      wantedChains(flavour, OVERLAY, { ...POLICY, ...policy }, { ...PLACES, ...places }, admission)
        .map(({ purpose }) => purpose)
        .join(" "),
    ]),
  );

test("wantedChains() masquerades and clamps in one place, lets pass wherever somebody forbids, and keeps strangers out where the peers are known", () => {
  expect(chains()).toEqual({
    nftables: "underlay",
    "iptables-nft": "masquerade clamp forward",
    "iptables-legacy": "forward",
  });
  expect(chains({ usual: "nftables", forwarding: [], admission: "iptables-legacy" })).toEqual({
    nftables: "masquerade clamp",
    "iptables-nft": "",
    "iptables-legacy": "underlay",
  });
});

test("wantedChains() has nothing that was not asked for, and no underlay chain before all peers are known", () => {
  const wanted = wantedChains("nftables", OVERLAY, POLICY, { ...PLACES, usual: "nftables" }, undefined);
  expect(wanted.map(({ purpose }) => purpose)).toEqual(["masquerade", "clamp"]);
  expect(chains({}, { masquerade: false, clampMss: false })).toEqual({
    nftables: "underlay",
    "iptables-nft": "forward",
    "iptables-legacy": "forward",
  });
  expect(chains({ usual: undefined, forwarding: [], admission: undefined })).toEqual({
    nftables: "",
    "iptables-nft": "",
    "iptables-legacy": "",
  });
});
