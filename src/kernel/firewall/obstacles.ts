import type { Family } from "../../ip/address.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6 } from "../../wire/nftables-message.ts";
import { isFlannelTable } from "./leftovers.ts";
import type { NftBaseChain, NftKernel } from "./nft-kernel.ts";
import { nftFamily } from "./nft-rule.ts";
import type { NftObject } from "./nft-table.ts";
import { findObstacle, type Obstacle, type Probe } from "./probe.ts";

/** NF_INET_FORWARD */
const HOOK_FORWARD = 2;

/** A rule of somebody's that stops packets of the overlay. */
export interface BlockingRule {
  /** `inet firewalld` */
  readonly table: string;
  readonly chain: string;
  /** As nft shows it; `policy drop` for a chain's policy. */
  readonly rule: string;
}

export interface ObstacleGround {
  readonly nft: NftKernel;
  /** `nft -j list table …` */
  table(family: string, table: string, options: Abortable): Promise<readonly NftObject[]>;
  /** `nft -a list chain …` */
  chainText(family: string, table: string, chain: string, options: Abortable): Promise<string>;
}

/** Finds the first rule of others in nftables that certainly stops one of these packets. That of iptables' FORWARD is not looked at: our own stands before it. */
export async function blockingRule(
  ground: ObstacleGround,
  probes: readonly Probe[],
  options: Abortable,
): Promise<BlockingRule | undefined> {
  const [first] = probes;
  if (first === undefined) return undefined;
  const { family } = first.source.address;
  for (const base of await foreignForwardChains(ground.nft, family, options)) {
    const name = base.family === NFPROTO_INET ? "inet" : nftFamily(family);
    const objects = await ground.table(name, base.table, options);
    for (const probe of probes) {
      const obstacle = findObstacle(objects, base.name, probe);
      if (obstacle !== undefined) return await inWords(ground, name, base.table, obstacle, options);
    }
  }
  return undefined;
}

async function foreignForwardChains(
  nft: NftKernel,
  family: Family,
  options: Abortable,
): Promise<readonly NftBaseChain[]> {
  const families = [NFPROTO_INET, family === 4 ? NFPROTO_IPV4 : NFPROTO_IPV6];
  return (await nft.baseChains(options)).filter(
    ({ family: its, table, name, hook }) =>
      hook === HOOK_FORWARD &&
      families.includes(its) &&
      !isFlannelTable(table) &&
      !(its !== NFPROTO_INET && table === "filter" && name === "FORWARD"),
  );
}

async function inWords(
  ground: ObstacleGround,
  family: string,
  table: string,
  { table: place, chain, handle }: Obstacle,
  options: Abortable,
): Promise<BlockingRule> {
  if (handle === undefined) return { table: place, chain, rule: "policy drop" };
  const text = await ground.chainText(family, table, chain, options);
  const line = text.split("\n").find((candidate) => candidate.endsWith(` # handle ${handle}`)) ?? "";
  return { table: place, chain, rule: line.replace(/ # handle \d+$/, "").trim() || `handle ${handle}` };
}
