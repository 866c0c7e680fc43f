import type { Table } from "../../src/dataplane/table.ts";
import type { Prefix } from "../../src/ip/prefix.ts";
import type { Firewall } from "../../src/kernel/firewall/firewall.ts";
import type { FirewallChain } from "../../src/kernel/firewall/rule.ts";
import type { Place } from "../../src/lab/place.ts";

/** A host on which flanneld, left to choose, takes one kind of packet filter. */
export interface Flavour {
  readonly name: string;
  /** Makes the host one. */
  readonly prepare: (host: Place) => Promise<void>;
  /** iptables, as this host's programs call it. */
  readonly iptables: string;
  /** Where it keeps a network's rules. */
  readonly table: (firewall: Firewall, network: Prefix) => Table<FirewallChain>;
  /** All rules, as the flavour's own program shows them. */
  readonly rules: (host: Place) => Promise<string>;
  /** What somebody does who wants to begin anew. */
  readonly flush: (host: Place) => Promise<void>;
  /** Takes the rule out that is in the middle of what masquerades. */
  readonly damage: (host: Place) => Promise<void>;
}

/** A rule that changes nothing and shows which iptables this host uses. */
const foreignRule = (source: string) => ["-t", "nat", "-A", "POSTROUTING", "-s", source, "-j", "RETURN"];

function iptables(kind: "nft" | "legacy"): Flavour {
  const program = `iptables-${kind}`;
  return {
    name: program,
    iptables: program,
    prepare: async (host) => {
      await host.run([program, ...foreignRule("203.0.113.0/24")]);
      await host.run([`ip6tables-${kind}`, ...foreignRule("2001:db8:113::/48")]);
    },
    table: (firewall, network) => {
      const table = firewall.xtablesTable(kind, network);
      if (table === undefined) throw new Error(`no ${program}`);
      return table;
    },
    // Counters, dates and chains of others do not matter.
    rules: async (host) =>
      (await host.run([`${program}-save`]))
        .split("\n")
        .filter((line) => /^-A|^\*/.test(line))
        .join("\n"),
    flush: async (host) => {
      for (const table of ["nat", "filter", "mangle"]) await host.run([program, "-t", table, "-F"]);
    },
    damage: async (host) => void (await host.run([program, "-t", "nat", "-D", "FLANNEL-M-10.5.0.0-16", "3"])),
  };
}

export const FLAVOURS: readonly Flavour[] = [
  {
    name: "nftables",
    iptables: "iptables-nft",
    prepare: async () => {},
    table: (firewall, network) => firewall.nftTable(network),
    // A chain that is made anew stands behind the others; their order means nothing.
    rules: async (host) =>
      (await host.run(["nft", "list", "ruleset"]))
        .replaceAll(/counter packets \d+ bytes \d+/g, "counter")
        .split(/(?=^\tchain )/m)
        .toSorted()
        .join(""),
    flush: async (host) => void (await host.run(["nft", "flush", "ruleset"])),
    damage: async (host) => {
      const chain = ["ip", "flannel-10.5.0.0-16", "postrouting"];
      const handles = [...(await host.run(["nft", "-a", "list", "chain", ...chain])).matchAll(/# handle (\d+)/g)];
      await host.run(["nft", "delete", "rule", ...chain, "handle", String(handles[3]?.[1])]);
    },
  },
  iptables("nft"),
  iptables("legacy"),
];
