import type { Prefix } from "../../ip/prefix.ts";
import type { Firewall } from "../../kernel/firewall/firewall.ts";
import type { LeftoverSource } from "./leftover.ts";
import { tableLeftovers } from "./table-leftovers.ts";

/**
 * Rules, chains and tables of every flannel in the host's packet filters. Single rules of 0.7.0 carry no name.
 * @param networks whose rules of 0.7.0 are looked for
 */
export function firewallLeftovers(firewall: Firewall, networks: readonly Prefix[]): LeftoverSource {
  return {
    async find(options) {
      const table = firewall.leftovers({ others: networks, allOthers: true, ours: "all" });
      return { leftovers: await tableLeftovers("rules", table, options), leftAlone: [] };
    },
  };
}
