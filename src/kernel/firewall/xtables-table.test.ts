import { expect, test } from "vitest";
import { parsePrefix } from "../../ip/prefix.ts";
import { type FirewallChain, inside } from "./rule.ts";
import { type RunXtables, XtablesTable } from "./xtables-table.ts";

const { signal } = new AbortController();
const OVERLAY = parsePrefix("10.5.0.0/16");
const CHAIN = "FLANNEL-F-10.5.0.0-16";
const JUMP = `-A FORWARD -j ${CHAIN}`;
const FORWARD: FirewallChain = { purpose: "forward", rules: [{ source: inside(OVERLAY), verdict: "accept" }] };

/** An iptables in which others' rules are found above ours after each of our writes. */
function iptables(others: readonly string[], ours: string): RunXtables {
  const content = [`-N ${CHAIN}`, ours];
  return {
    name: "iptables-nft",
    tables: async () => ["filter"],
    rules: async (_table, chain) => (chain === CHAIN ? content : [`-P ${chain} ACCEPT`, ...others, JUMP]),
    all: async () => [],
    restore: async () => {},
    dropped: async () => 0,
    watch: () => ({ [Symbol.dispose]() {} }),
  };
}

function tableOf(program: RunXtables): XtablesTable {
  return new XtablesTable(program, OVERLAY, { ensure: async () => {}, destroy: async () => {} });
}

/** Whether what is listed is taken for what was wanted, after it was written this many times. */
async function isTakenFor(table: XtablesTable, writes: number): Promise<boolean> {
  for (let write = 0; write < writes; write++) await table.apply({ puts: [FORWARD], removals: [] }, { signal });
  const [found] = await table.list({ signal });
  return found !== undefined && table.equal(FORWARD, found);
}

const RULE = `-A ${CHAIN} -s 10.5.0.0/16 -j ACCEPT`;

test("XtablesTable knows its rules again in other words once it has written them twice", async () => {
  const program = iptables([], RULE.replace("/16", "/255.255.0.0"));
  expect(await isTakenFor(tableOf(program), 1)).toBe(false);
  expect(await isTakenFor(tableOf(program), 2)).toBe(true);
});

test("XtablesTable never takes a place below others' rules for its own, though they are there after each write", async () => {
  expect(await isTakenFor(tableOf(iptables(["-A FORWARD -j DOCKER-USER"], RULE)), 1)).toBe(true);
  expect(await isTakenFor(tableOf(iptables(["-A FORWARD -j DOCKER-ISOLATION-STAGE-1"], RULE)), 3)).toBe(false);
});
