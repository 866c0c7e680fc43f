import type { Plan, RowFailure, Table } from "../../dataplane/table.ts";
import type { Prefix } from "../../ip/prefix.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { NFPROTO_IPV4, NFPROTO_IPV6 } from "../../wire/nftables-message.ts";
import type { NftChange } from "./nft-changes.ts";
import { type NftHook, type NftJson, nftExpression, nftFamily, nftHook, stableText } from "./nft-rule.ts";
import { Readback } from "./readback.ts";
import type { FirewallChain } from "./rule.ts";
import { CHAIN_PURPOSES, firewallChains, NFT_CHAINS, NFT_PEERS, NFT_REFUSED, nftTableName } from "./rule.ts";

/** Our table of one network in nftables: what is in it is ours, whoever put it there. */
export class NftTable implements Table<FirewallChain> {
  readonly name: string;
  readonly key = firewallChains.key;
  readonly format = firewallChains.format;
  readonly #nft: RunNft;
  readonly #network: Prefix;
  readonly #family: "ip" | "ip6";
  readonly #table: string;
  readonly #subscribe: Subscribe | undefined;
  readonly #onRefused: ((packets: number) => void) | undefined;
  readonly #readback = new Readback();

  /**
   * @param subscribe undefined where nobody tells of changes
   * @param onRefused told at every listing how many packets have been refused since the table was made
   */
  constructor(nft: RunNft, network: Prefix, subscribe: Subscribe | undefined, onRefused?: (packets: number) => void) {
    this.#nft = nft;
    this.#network = network;
    this.#family = nftFamily(network.address.family);
    this.#table = nftTableName(network);
    this.name = `nftables ${this.#family} ${this.#table}`;
    this.#subscribe = subscribe;
    this.#onRefused = onRefused;
  }

  equal(desired: FirewallChain, actual: FirewallChain): boolean {
    return this.#readback.equal(desired.purpose, this.#linesOf(desired), this.#linesOf(actual));
  }

  async list(options: Abortable): Promise<readonly FirewallChain[]> {
    const objects = await this.#nft.table(this.#family, this.#table, options);
    const chains = new Map<string, string[]>();
    for (const object of objects) {
      if (object.counter?.["name"] === NFT_REFUSED) this.#onRefused?.(Number(object.counter["packets"]));
      const { name } = object.chain ?? {};
      const { chain, expr = [] } = object.rule ?? {};
      if (typeof name === "string") chains.set(name, [hookText(object.chain)]);
      if (typeof chain === "string") chains.get(chain)?.push(stableText(expr));
    }
    return CHAIN_PURPOSES.flatMap((purpose) => {
      const listed = chains.get(NFT_CHAINS[purpose]);
      return listed === undefined ? [] : [{ purpose, rules: [], listed }];
    });
  }

  /** One transaction: all of it or nothing, and no packet sees a part. */
  async apply(plan: Plan<FirewallChain>, options: Abortable): Promise<readonly RowFailure<FirewallChain>[]> {
    const table = { family: this.#family, table: this.#table };
    const commands: NftJson[] = [{ add: { table: { family: this.#family, name: this.#table } } }];
    for (const { purpose, rules } of plan.puts) {
      const name = NFT_CHAINS[purpose];
      const chain = { ...table, name };
      // A chain that hangs elsewhere cannot be moved: it is made anew, and first made so that there is one to delete.
      commands.push({ add: { chain } }, { flush: { chain } }, { delete: { chain } });
      commands.push({ add: { chain: { ...chain, ...nftHook(purpose) } } });
      if (purpose === "underlay") commands.push(...this.#beside(table));
      for (const rule of rules)
        commands.push({
          add: { rule: { ...table, chain: name, expr: nftExpression(rule, this.#network.address.family) } },
        });
    }
    for (const { purpose } of plan.removals) {
      const chain = { ...table, name: NFT_CHAINS[purpose] };
      commands.push({ add: { chain } }, { flush: { chain } }, { delete: { chain } });
    }
    await this.#nft.apply(commands, options);
    await this.#readAgain(plan.puts, options);
    if (plan.removals.length > 0) await this.#removeIfEmpty(options);
    return [];
  }

  watch(onChange: () => void): Disposable {
    const family = NFPROTO[this.#family];
    const concerns = (change: NftChange) =>
      change.family === family && change.table === this.#table && change.owner !== NFT_PEERS;
    return this.#subscribe?.({ concerns, onChange }) ?? { [Symbol.dispose]() {} };
  }

  /** What its rules name, if it is not there yet. */
  #beside(table: { readonly family: string; readonly table: string }): readonly NftJson[] {
    const type = this.#family === "ip" ? "ipv4_addr" : "ipv6_addr";
    return [
      { add: { set: { ...table, name: NFT_PEERS, type } } },
      { add: { counter: { ...table, name: NFT_REFUSED } } },
    ];
  }

  /** As it would be listed, or was. */
  #linesOf({ purpose, rules, listed }: FirewallChain): readonly string[] {
    const family = this.#network.address.family;
    return listed ?? [hookText(nftHook(purpose)), ...rules.map((rule) => stableText(nftExpression(rule, family)))];
  }

  async #readAgain(puts: readonly FirewallChain[], options: Abortable): Promise<void> {
    const again = puts.filter((row) => this.#readback.wrote(row.purpose, this.#linesOf(row)));
    if (again.length === 0) return;
    const rows = await this.list(options);
    for (const row of again) {
      const found = rows.find(({ purpose }) => purpose === row.purpose);
      this.#readback.read(row.purpose, this.#linesOf(row), found?.listed ?? []);
    }
  }

  /** Without a chain nothing in it is of use. */
  async #removeIfEmpty(options: Abortable): Promise<void> {
    if ((await this.list(options)).length > 0) return;
    await this.#nft.apply([{ delete: { table: { family: this.#family, name: this.#table } } }], options);
  }
}

/** nftables' table families by name. */
export const NFPROTO = { ip: NFPROTO_IPV4, ip6: NFPROTO_IPV6 } as const;

type Subscribe = (listener: { concerns: (change: NftChange) => boolean; onChange: () => void }) => Disposable;

/** An object of a listing, by its kind. */
export type NftObject = Readonly<Record<string, { readonly [key: string]: NftJson } | undefined>>;

/** nft(8). */
export interface RunNft {
  /** All that is in a table; nothing if there is none. */
  table(family: "ip" | "ip6", table: string, options: Abortable): Promise<readonly NftObject[]>;
  apply(commands: readonly NftJson[], options: Abortable): Promise<void>;
}

function hookText(chain: NftHook | { readonly [key: string]: NftJson } | undefined): string {
  if (chain === undefined || chain["type"] === undefined) return "no hook";
  const { type, hook, prio, policy } = chain as unknown as NftHook;
  return `type ${type} hook ${hook} priority ${prio} policy ${policy}`;
}
