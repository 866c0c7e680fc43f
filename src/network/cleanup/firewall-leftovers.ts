import { formatPrefix, type Prefix } from "../../ip/prefix.ts";
import type { Firewall } from "../../kernel/firewall/firewall.ts";
import type { Leftover, LeftoverSource } from "./leftover.ts";

/** Our chains in the host's packet filters, of the networks that are known. */
export function firewallLeftovers(firewall: Firewall, networks: readonly Prefix[]): LeftoverSource {
  return {
    async find(options) {
      const leftovers: Leftover[] = [];
      for (const network of networks) {
        const { nftables } = await firewall.survey(network, options);
        const tables = [
          nftables ? firewall.nftTable(network) : undefined,
          firewall.xtablesTable("nft", network),
          firewall.xtablesTable("legacy", network),
        ];
        for (const table of tables.filter((table) => table !== undefined))
          for (const row of await table.list(options))
            leftovers.push({
              kind: "rules",
              name: `${row.purpose} of ${formatPrefix(network)} in ${table.name}`,
              async remove(options) {
                const [failure] = await table.apply({ puts: [], removals: [row] }, options);
                if (failure !== undefined) throw failure.error;
              },
            });
      }
      return { leftovers, leftAlone: [] };
    },
  };
}
