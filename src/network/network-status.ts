import { formatPrefix, type Prefix } from "../ip/prefix.ts";
import type { NetworkName } from "../lease/lease.ts";

/** How far a network is on this host. */
export type NetworkStatus =
  | { readonly phase: "waiting"; readonly what: string; readonly reason: string | undefined }
  | {
      readonly phase: "up";
      /** One of each family. */
      readonly subnets: readonly Prefix[];
      readonly backend: string;
      readonly peers: number;
      /** Rows that are not in place, each with its reason. */
      readonly problems: readonly string[];
    };

/** Before anything is known. */
export const STARTING: NetworkStatus = { phase: "waiting", what: "the network's config", reason: undefined };

/** The one network of a host, as a sentence: `Up: subnet 10.5.38.0/24, backend vxlan, 2 peers.` */
export function describeNetwork(status: NetworkStatus): string {
  if (status.phase === "waiting") return `Waiting for ${status.what}${because(status.reason)}.`;
  const { subnets, backend, peers, problems } = status;
  return `Up: ${subnets.length === 1 ? "subnet" : "subnets"} ${subnets.map(formatPrefix).join(" and ")}, backend ${backend}, ${count(peers, "peer")}${troubles(problems)}.`;
}

/** The networks of a host: `2 of 3 networks are up: blue (10.61.3.0/24, 2 peers), …; red is waiting for a usable config: …` */
export function describeNetworks(networks: ReadonlyMap<NetworkName, NetworkStatus>): string {
  if (networks.size === 0) return "No networks yet.";
  const up: string[] = [];
  const waiting: string[] = [];
  for (const [name, status] of networks)
    if (status.phase === "waiting") waiting.push(`${name} is waiting for ${status.what}${because(status.reason)}`);
    else
      up.push(
        `${name} (${status.subnets.map(formatPrefix).join(" and ")}, ${count(status.peers, "peer")}${troubles(status.problems)})`,
      );
  const verb = networks.size === 1 ? "is" : "are";
  const first = `${up.length} of ${count(networks.size, "network")} ${verb} up${up.length > 0 ? `: ${up.join(", ")}` : ""}`;
  return `${[first, ...waiting].join("; ")}.`;
}

function because(reason: string | undefined): string {
  return reason === undefined ? "" : `: ${reason.replace(/\.$/, "")}`;
}

function troubles(problems: readonly string[]): string {
  const [first] = problems;
  if (first === undefined) return "";
  return `; ${problems.length === 1 ? "not in place" : `${problems.length} rows are not in place, the first`}: ${first}`;
}

export function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}
