import type { Family } from "../../ip/address.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6 } from "../../wire/nftables-message.ts";
import { isFlannelTable } from "./leftovers.ts";
import type { NftBaseChain, NftKernel } from "./nft-kernel.ts";
import { nftFamily } from "./nft-rule.ts";
import type { NftObject } from "./nft-table.ts";
import { findObstacle, type Obstacle, type Probe } from "./probe.ts";
import { xtablesListing } from "./xtables-listing.ts";
import type { RunXtables } from "./xtables-table.ts";

/** NF_INET_LOCAL_IN and NF_INET_FORWARD, and what iptables calls its chains there. */
const HOOKS: Readonly<Record<Probe["hook"], { readonly number: number; readonly chain: string }>> = {
  input: { number: 1, chain: "INPUT" },
  forward: { number: 2, chain: "FORWARD" },
};

/** A rule of somebody's that stops packets of the overlay. */
export interface BlockingRule {
  /** `inet firewalld`, `iptables-legacy filter` */
  readonly table: string;
  readonly chain: string;
  /** As its program shows it; `policy drop` for a chain's policy. */
  readonly rule: string;
}

export interface ObstacleGround {
  /** Undefined where nftables cannot be used. */
  readonly nft: ObstacleNft | undefined;
  /** Each iptables whose chain of that name in `filter` somebody has used. */
  xtables(family: Family, chain: string, options: Abortable): Promise<readonly RunXtables[]>;
}

export interface ObstacleNft {
  readonly kernel: NftKernel;
  /** `nft -j list table …` */
  table(family: string, table: string, options: Abortable): Promise<readonly NftObject[]>;
  /** `nft -s -a list chain …`: without counters, which would make other words of the same rule. */
  chainText(family: string, table: string, chain: string, options: Abortable): Promise<string>;
}

/** Rules that packets pass in one place, and how to find the words of one of them. */
interface Listing {
  readonly objects: readonly NftObject[];
  readonly chain: string;
  readonly inWords: (obstacle: Obstacle) => Promise<BlockingRule>;
}

/**
 * Finds the first rule of others that certainly stops one of these packets, which are of one family and go one way. That of iptables'
 * FORWARD is not looked at: our own stands before it.
 */
export async function blockingRule(
  ground: ObstacleGround,
  probes: readonly Probe[],
  options: Abortable,
): Promise<BlockingRule | undefined> {
  const [first] = probes;
  if (first === undefined) return undefined;
  for await (const { objects, chain, inWords } of listings(ground, first, options))
    for (const probe of probes) {
      const obstacle = findObstacle(objects, chain, probe);
      if (obstacle !== undefined) return await inWords(obstacle);
    }
  return undefined;
}

/** One after the other: who finds something need not look further. */
async function* listings(
  ground: ObstacleGround,
  { hook, source }: Probe,
  options: Abortable,
): AsyncGenerator<Listing, void> {
  const { family } = source.address;
  if (hook === "input")
    for (const program of await ground.xtables(family, HOOKS.input.chain, options))
      yield await xtablesRules(program, family, options);
  const { nft } = ground;
  if (nft === undefined) return;
  for (const base of await foreignChains(nft.kernel, hook, family, options)) {
    const name = base.family === NFPROTO_INET ? "inet" : nftFamily(family);
    const objects = await nft.table(name, base.table, options);
    yield { objects, chain: base.name, inWords: (obstacle) => inWords(nft, name, base.table, obstacle, options) };
  }
}

async function xtablesRules(program: RunXtables, family: Family, options: Abortable): Promise<Listing> {
  const lines = await program.all("filter", options);
  const table = `${program.name} filter`;
  const objects = xtablesListing(lines, family, "filter");
  return {
    objects,
    chain: HOOKS.input.chain,
    inWords: async ({ chain, handle }) => ({ table, chain, rule: lines[handle ?? -1] ?? "policy drop" }),
  };
}

async function foreignChains(
  nft: NftKernel,
  hook: Probe["hook"],
  family: Family,
  options: Abortable,
): Promise<readonly NftBaseChain[]> {
  const families = [NFPROTO_INET, family === 4 ? NFPROTO_IPV4 : NFPROTO_IPV6];
  const { number, chain } = HOOKS[hook];
  return (await nft.baseChains(options)).filter(
    ({ family: its, table, name, hook: itsHook }) =>
      itsHook === number &&
      families.includes(its) &&
      !isFlannelTable(table) &&
      !(its !== NFPROTO_INET && table === "filter" && name === chain),
  );
}

async function inWords(
  nft: ObstacleNft,
  family: string,
  table: string,
  { table: place, chain, handle }: Obstacle,
  options: Abortable,
): Promise<BlockingRule> {
  if (handle === undefined) return { table: place, chain, rule: "policy drop" };
  const text = await nft.chainText(family, table, chain, options);
  const line = text.split("\n").find((candidate) => candidate.endsWith(` # handle ${handle}`)) ?? "";
  return { table: place, chain, rule: line.replace(/ # handle \d+$/, "").trim() || `handle ${handle}` };
}
