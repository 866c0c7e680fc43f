import { describe, expect, test } from "vitest";
import { plan } from "../../src/dataplane/plan.ts";
import type { Table } from "../../src/dataplane/table.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { openFirewall } from "../../src/kernel/firewall/linux-firewall.ts";
import type { FirewallChain } from "../../src/kernel/firewall/rule.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { clampChain, forwardChain, masqueradeChain } from "../../src/network/firewall/rules.ts";
import { Namespace } from "../kernel/linux-harness.ts";

const { signal } = new AbortController();

const OVERLAYS = [
  { family: 4, network: "10.5.0.0/16", subnet: "10.5.3.0/24", other: "10.5.4.0/24", multicast: "224.0.0.0/4" },
  { family: 6, network: "fd00:5::/48", subnet: "fd00:5:0:3::/64", other: "fd00:5:0:4::/64", multicast: "ff00::/8" },
] as const;

async function make(table: Table<FirewallChain>, desired: readonly FirewallChain[]) {
  const todo = plan(table, desired, await table.list({ signal }));
  expect(await table.apply(todo, { signal })).toEqual([]);
  return todo;
}

const NOTHING = { puts: [], removals: [] };

describe.each(OVERLAYS)("IPv$family", ({ family, network, subnet, other, multicast }) => {
  const overlay = parsePrefix(network);
  const masquerade = masqueradeChain({ network: overlay, subnet: parsePrefix(subnet), excluded: [] });
  const moved = masqueradeChain({ network: overlay, subnet: parsePrefix(other), excluded: [] });
  const name = network.replaceAll(":", "_").replace("/", "-");

  test.each(["nft", "legacy"] as const)(
    "iptables-%s holds chains in order, once, from the first place",
    async (kind) => {
      using namespace = new Namespace();
      using firewall = await openFirewall({ namespace: namespace.path, signal });
      const table = firewall.xtablesTable(kind, overlay);
      if (table === undefined) throw new Error(`no iptables-${kind}`);
      const iptables = (...args: readonly string[]) =>
        namespace.run(`ip${family === 4 ? "" : "6"}tables-${kind}`, ...args);
      const rules = (...args: readonly string[]) =>
        iptables(...args, "-S")
          .split("\n")
          .filter((line) => line.startsWith("-A"));

      expect(await table.list({ signal })).toEqual([]);
      const { legacy, nft } = await firewall.survey(overlay, { signal });
      expect([...legacy.tables, ...nft.tables], "looking makes no table").toEqual([]);

      iptables("-A", "FORWARD", "-j", "REJECT");
      iptables("-t", "nat", "-A", "POSTROUTING", "-s", other, "-j", "ACCEPT");
      await make(table, [masquerade, forwardChain(overlay)]);
      expect(rules("-t", "nat")).toEqual([
        `-A POSTROUTING -s ${other} -j ACCEPT`,
        `-A POSTROUTING -j FLANNEL-M-${name}`,
        `-A FLANNEL-M-${name} -m mark --mark 0x4000/0x4000 -j RETURN`,
        `-A FLANNEL-M-${name} -s ${subnet} -d ${network} -j RETURN`,
        `-A FLANNEL-M-${name} -s ${network} -d ${subnet} -j RETURN`,
        `-A FLANNEL-M-${name} ! -s ${network} -d ${subnet} -j RETURN`,
        `-A FLANNEL-M-${name} -s ${network} ! -d ${multicast} -j MASQUERADE --random-fully`,
        `-A FLANNEL-M-${name} ! -s ${network} -d ${network} -j MASQUERADE --random-fully`,
      ]);
      expect(rules()[0]).toBe(`-A FORWARD -j FLANNEL-F-${name}`);
      expect(rules()).toHaveLength(4);
      expect(await make(table, [masquerade, forwardChain(overlay)])).toEqual(NOTHING);

      iptables("-t", "mangle", "-A", "FORWARD", "-j", "ACCEPT");
      await make(table, [masquerade, forwardChain(overlay), clampChain(overlay)]);
      expect(rules("-t", "mangle")).toEqual([
        `-A FORWARD -j FLANNEL-C-${name}`,
        "-A FORWARD -j ACCEPT",
        `-A FLANNEL-C-${name} -s ${network} -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu`,
        `-A FLANNEL-C-${name} -d ${network} -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu`,
      ]);
      expect(await make(table, [masquerade, forwardChain(overlay), clampChain(overlay)])).toEqual(NOTHING);
      await make(table, [masquerade, forwardChain(overlay)]);
      expect(rules("-t", "mangle")).toEqual(["-A FORWARD -j ACCEPT"]);

      let told = 0;
      using _watch = table.watch?.(() => told++);
      iptables("-I", "FORWARD", "-s", other, "-j", "DROP");
      iptables("-I", "FORWARD", "-j", `FLANNEL-F-${name}`);
      iptables("-N", "cali-FORWARD");
      iptables("-I", "FORWARD", "-j", "cali-FORWARD"); // policies for pods come first
      iptables("-t", "nat", "-D", `FLANNEL-M-${name}`, "2");
      await waitUntil(() => told > 0, { signal, within: 20_000, what: "changes are told" });
      const todo = await make(table, [masquerade, forwardChain(overlay)]);
      expect(todo.puts.map((row) => row.purpose)).toEqual(["masquerade", "forward"]);
      expect(
        rules()
          .slice(0, 4)
          .map((line) => line.split(" -j ")[1]),
      ).toEqual(["cali-FORWARD", `FLANNEL-F-${name}`, "DROP", expect.stringMatching(/^REJECT/)]);
      expect(await make(table, [masquerade, forwardChain(overlay)])).toEqual(NOTHING);

      await make(table, [moved]);
      expect(rules("-t", "nat").filter((line) => line.includes(subnet))).toEqual([]);
      await make(table, []);
      expect([...rules(), ...rules("-t", "nat")].filter((line) => line.includes("FLANNEL"))).toEqual([]);
      expect(rules("-t", "nat")).toEqual([`-A POSTROUTING -s ${other} -j ACCEPT`]);
    },
  );

  test("nftables holds the chain in order and once, and tells what others change and not what we do", async () => {
    using namespace = new Namespace();
    using firewall = await openFirewall({ namespace: namespace.path, signal });
    const table = firewall.nftTable(overlay);
    const protocol = family === 4 ? "ip" : "ip6";
    const chain = [protocol, `flannel-${name}`, "postrouting"];
    const rules = () =>
      namespace
        .run("nft", "-s", "list", "chain", ...chain)
        .split("\n")
        .filter((line) => line.includes("counter"))
        .map((line) => line.trim());

    expect(await table.list({ signal })).toEqual([]);
    let told = 0;
    using _watch = table.watch?.(() => told++);
    await make(table, [masquerade]);
    const wanted = [
      "meta mark & 0x00004000 == 0x00004000 counter return",
      `${protocol} saddr ${subnet} ${protocol} daddr ${network} counter return`,
      `${protocol} saddr ${network} ${protocol} daddr ${subnet} counter return`,
      `${protocol} saddr != ${network} ${protocol} daddr ${subnet} counter return`,
      `${protocol} saddr ${network} ${protocol} daddr != ${multicast} counter masquerade fully-random`,
      `${protocol} saddr != ${network} ${protocol} daddr ${network} counter masquerade fully-random`,
    ];
    expect(rules()).toEqual(wanted);
    expect(await make(table, [masquerade])).toEqual(NOTHING);
    expect(told).toBe(0);

    namespace.run("nft", "insert", "rule", ...chain, "return");
    await waitUntil(() => told > 0, { signal, within: 20_000, what: "a change is told" });
    expect((await make(table, [masquerade])).puts).toHaveLength(1);
    expect(rules()).toEqual(wanted);
    namespace.run("nft", "delete", "table", protocol, `flannel-${name}`);
    namespace.run("nft", "add", "table", protocol, `flannel-${name}`);
    namespace.run("nft", "add", "chain", ...chain, "{ type nat hook postrouting priority 50; policy accept; }");
    expect((await make(table, [masquerade])).puts, "a chain in another place is made anew").toHaveLength(1);
    expect(namespace.run("nft", "list", "chain", ...chain)).toContain("hook postrouting priority srcnat;");

    await make(table, [masquerade, clampChain(overlay)]);
    const clamp = "counter packets 0 bytes 0 tcp option maxseg size set rt mtu";
    const listing = namespace.run("nft", "list", "chain", protocol, `flannel-${name}`, "clamp");
    expect(listing).toContain("type filter hook forward priority mangle; policy accept;");
    expect(listing).toContain(`${protocol} saddr ${network} tcp flags syn / syn,rst ${clamp}`);
    expect(listing).toContain(`${protocol} daddr ${network} tcp flags syn / syn,rst ${clamp}`);
    expect(await make(table, [masquerade, clampChain(overlay)])).toEqual(NOTHING);

    await make(table, []);
    expect(namespace.run("nft", "list", "ruleset")).toBe("");
  });
});
