import { expect, test } from "vitest";
import { plan } from "../../src/dataplane/plan.ts";
import { type Address, addToAddress, formatAddress, parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { IpsetKernel } from "../../src/kernel/firewall/ipset-kernel.ts";
import { IpsetTable } from "../../src/kernel/firewall/ipset-table.ts";
import { ipsetName } from "../../src/kernel/firewall/rule.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { Namespace } from "../kernel/linux-harness.ts";

const { signal } = new AbortController();
const MANY = 5_000;

test.each([
  ["10.5.0.0/16", "192.0.2.7", "inet"],
  ["fd00:1111:2222:3333::/64", "2001:db8::7", "inet6"],
])("a set of the peers of %s is what the program ipset shows, and is kept equal", async (network, first, family) => {
  const name = ipsetName(parsePrefix(network));
  using namespace = new Namespace();
  using ipset = new IpsetKernel(namespace.path);
  expect(await ipset.isThere({ signal })).toBe(true);
  const table = new IpsetTable(ipset, parsePrefix(network));
  const start = parseAddress(first);
  const peers = Array.from({ length: MANY }, (_, index) => addToAddress(start, BigInt(index)));
  const make = async (desired: readonly Address[]) => {
    const todo = plan(table, desired, await table.list({ signal }));
    expect(await table.apply(todo, { signal })).toEqual([]);
    return todo;
  };
  const shown = () => namespace.run("ipset", "list", name).split("Members:\n")[1]?.trim().split("\n").toSorted();

  expect(await table.list({ signal })).toEqual([]);
  let told = 0;
  using _watch = table.watch(() => told++);
  await make(peers);
  expect(namespace.run("ipset", "list", "-t", name)).toContain(`Type: hash:ip\nRevision: 0\nHeader: family ${family} `);
  expect(shown()).toEqual(peers.map(formatAddress).toSorted());
  expect(await ipset.count(name, { signal })).toBe(MANY);
  expect(await make(peers)).toEqual({ puts: [], removals: [] });
  expect((await make(peers.slice(0, 2))).removals).toHaveLength(MANY - 2);
  expect(shown()).toEqual([first, formatAddress(addToAddress(start, 1n))]);
  await waitUntil(() => told > 0, { signal, within: 20_000, what: "another number of elements is told" });

  const before = told;
  namespace.run("ipset", "flush", name);
  await waitUntil(() => told > before, { signal, within: 20_000, what: "a flush is told" });
  expect((await make(peers.slice(0, 2))).puts).toHaveLength(2);
  namespace.run("ipset", "destroy", name);
  expect(await table.apply({ puts: [], removals: peers.slice(0, 2) }, { signal })).toEqual([]);
  expect(await make(peers.slice(0, 2))).toMatchObject({ removals: [] });
  expect(await ipset.names({ signal })).toEqual([name]);

  namespace.run("ipset", "create", "other", "hash:net", "family", family);
  const rule = ["INPUT", "-m", "set", "--match-set", name, "src", "-j", "ACCEPT"];
  const iptables = family === "inet" ? "iptables" : "ip6tables";
  namespace.run(iptables, "-A", ...rule);
  await ipset.destroy(name, { signal });
  expect(await ipset.count(name, { signal }), "a rule names it").toBe(2);
  namespace.run(iptables, "-D", ...rule);
  await ipset.destroy(name, { signal });
  await ipset.destroy(name, { signal });
  expect(await ipset.names({ signal })).toEqual(["other"]);
  namespace.run("ipset", "create", name, "hash:net", "family", family);
  await expect(ipset.ensure(name, start.family, { signal })).rejects.toThrow(`make set ${name}: `);
});
