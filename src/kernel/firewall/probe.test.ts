import { expect, test } from "vitest";
import { parsePrefix } from "../../ip/prefix.ts";
import type { NftJson } from "./nft-rule.ts";
import type { NftObject } from "./nft-table.ts";
import { findObstacle, type Probe } from "./probe.ts";

const OUTWARD: Probe = {
  hook: "forward",
  protocol: "tcp",
  port: undefined,
  source: parsePrefix("10.5.3.0/24"),
  destination: parsePrefix("10.5.0.0/16"),
  from: "cni0",
  to: "flannel.1",
};

/** A listing: chains with their rules' statements; the first is the base chain. */
function listing(policy: string, chains: Readonly<Record<string, readonly (readonly NftJson[])[]>>): NftObject[] {
  const place = { family: "inet", table: "t" };
  let handle = 0;
  return Object.entries(chains).flatMap(([name, rules], index): NftObject[] => [
    { chain: { ...place, name, ...(index === 0 && { hook: "forward", policy }) } },
    ...rules.map((expr) => ({ rule: { ...place, chain: name, handle: ++handle, expr } })),
  ]);
}

const match = (left: NftJson, right: NftJson, op = "=="): NftJson => ({ match: { op, left, right } });
const meta = (key: string) => ({ meta: { key } });
const address = (field: "saddr" | "daddr") => ({ payload: { protocol: "ip", field } });
const prefix = (addr: string, len: number) => ({ prefix: { addr, len } });
const STATE = { ct: { key: "state" } };
const DROP = { drop: null };
const ACCEPT = { accept: null };

const look = (policy: string, chains: Parameters<typeof listing>[1], probe = OUTWARD) => {
  const found = findObstacle(listing(policy, chains), Object.keys(chains)[0] ?? "", probe);
  return found === undefined ? undefined : `${found.chain} ${found.handle ?? "policy"}`;
};

test.each<[string, string, Parameters<typeof listing>[1], string | undefined]>([
  ["an empty chain", "accept", { base: [] }, undefined],
  ["a policy", "drop", { base: [] }, "base policy"],
  ["a drop of all", "accept", { base: [[DROP]] }, "base 1"],
  [
    "a reject of our source",
    "accept",
    { base: [[match(address("saddr"), prefix("10.0.0.0", 8)), { reject: null }]] },
    "base 1",
  ],
  [
    "a drop of a part of our destination",
    "accept",
    { base: [[match(address("daddr"), prefix("10.5.9.0", 24)), DROP]] },
    undefined,
  ],
  ["a drop of others' source", "accept", { base: [[match(address("saddr"), "192.0.2.1"), DROP]] }, undefined],
  [
    "a drop of all but ours",
    "accept",
    { base: [[match(address("saddr"), prefix("10.5.0.0", 16), "!="), DROP]] },
    undefined,
  ],
  [
    "a policy after an accept of ours",
    "drop",
    { base: [[match(address("saddr"), prefix("10.5.0.0", 16)), ACCEPT]] },
    undefined,
  ],
  [
    "a policy after an accept of what is established",
    "drop",
    { base: [[match(STATE, { set: ["established", "related"] }), ACCEPT]] },
    "base policy",
  ],
  ["a policy after an accept of what is new", "drop", { base: [[match(STATE, ["new"], "in"), ACCEPT]] }, undefined],
  ["a policy after an accept by our link", "drop", { base: [[match(meta("oifname"), "flannel*"), ACCEPT]] }, undefined],
  [
    "a policy after an accept by another link",
    "drop",
    { base: [[match(meta("oifname"), "eth0"), ACCEPT]] },
    "base policy",
  ],
  ["a policy after an accept that cannot be told", "drop", { base: [[match(meta("mark"), 1), ACCEPT]] }, undefined],
  ["a drop that cannot be told", "accept", { base: [[match(meta("mark"), 1), DROP]] }, undefined],
  [
    "a drop of IPv6",
    "accept",
    { base: [[match({ payload: { protocol: "ip6", field: "daddr" } }, "::1"), DROP]] },
    undefined,
  ],
  [
    "a drop of UDP",
    "accept",
    { base: [[match({ payload: { protocol: "udp", field: "dport" } }, 53), DROP]] },
    undefined,
  ],
  [
    "a drop in a chain that is jumped to",
    "accept",
    { base: [[{ jump: { target: "a" } }]], a: [[{ counter: null }, DROP]] },
    "a 2",
  ],
  [
    "a drop after a chain that returns",
    "accept",
    { base: [[{ jump: { target: "a" } }], [DROP]], a: [[{ return: null }]] },
    "base 2",
  ],
  ["a drop after a chain that is gone to", "accept", { base: [[{ goto: { target: "a" } }], [DROP]], a: [] }, undefined],
  ["a chain that jumps to itself", "accept", { base: [[{ jump: { target: "base" } }], [DROP]] }, undefined],
  [
    "a map of states",
    "drop",
    {
      base: [
        [
          {
            vmap: {
              key: STATE,
              data: {
                set: [
                  ["established", ACCEPT],
                  ["new", { jump: { target: "a" } }],
                ],
              },
            },
          },
        ],
      ],
      a: [[DROP]],
    },
    "a 2",
  ],
  ["a match of iptables' own", "drop", { base: [[{ xt: { type: "match", name: "comment" } }, ACCEPT]] }, undefined],
])("findObstacle() on %s", (_, policy, chains, found) => {
  expect(look(policy, chains)).toBe(found);
});

test("findObstacle() raises no alarm for rules on a link that is not known yet", () => {
  const chains = { base: [[match(meta("iifname"), "cni0"), ACCEPT]] };
  expect(look("drop", chains, { ...OUTWARD, from: undefined })).toBeUndefined();
  expect(look("drop", chains, { ...OUTWARD, from: "docker0" })).toBe("base policy");
});
