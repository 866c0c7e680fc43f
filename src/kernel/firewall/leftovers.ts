import type { Plan, RowFailure, Table } from "../../dataplane/table.ts";
import { formatPrefix, type Prefix } from "../../ip/prefix.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { CHAIN_PURPOSES, ipsetName, nftTableName, xtablesChainName } from "./rule.ts";
import { targetOf } from "./xtables-rule.ts";
import { type RunXtables, XTABLES_NAMES, type XtablesName } from "./xtables-table.ts";

/** Whose rules are looked for; all of them for a host that flannel leaves. */
export interface LeftoverScope {
  /** Networks whose rules 0.7.0 or a later release made. Those of 0.7.0 carry no name: without their network they are not known. */
  readonly others: readonly Prefix[];
  /** Whether chains and tables of later releases go whatever network they are for. */
  readonly allOthers: boolean;
  /** Networks whose chains of our own are not wanted any more. */
  readonly ours: readonly Prefix[] | "all";
}

/** What some flannel made and nobody wants: chains and the jumps to them, single rules, whole tables of nftables, sets for iptables. */
export type Leftover = XtablesLeftover | NftLeftover | SetLeftover;

export interface SetLeftover {
  readonly kind: "set";
  readonly name: string;
}

export interface XtablesLeftover {
  readonly kind: "chain" | "rule";
  readonly program: RunXtables;
  readonly table: XtablesName;
  /** The chain; undefined for a rule in somebody else's. */
  readonly chain: string | undefined;
  /** Rules in others' chains, as listed: the jumps to the chain, or the rule itself. */
  readonly rules: readonly string[];
}

export interface NftLeftover {
  readonly kind: "table";
  readonly family: "ip" | "ip6";
  readonly table: string;
}

/** What the host's packet filters are asked. */
export interface LeftoverGround {
  readonly xtables: readonly RunXtables[];
  nftTables(options: Abortable): Promise<readonly NftLeftover[]>;
  /** What is in a table, as text. */
  nftContent(table: NftLeftover, options: Abortable): Promise<string>;
  removeNft(tables: readonly NftLeftover[], options: Abortable): Promise<void>;
  /** Names of sets of iptables' that are ours. */
  sets(options: Abortable): Promise<readonly string[]>;
  /** Leaves one that a rule names. */
  removeSet(name: string, options: Abortable): Promise<void>;
}

/** Chains and tables of later releases. */
const OTHERS_CHAINS: Readonly<Partial<Record<XtablesName, string>>> = { nat: "FLANNEL-POSTRTG", filter: "FLANNEL-FWD" };
const OTHERS_TABLES: Readonly<Record<"ip" | "ip6", string>> = { ip: "flannel-ipv4", ip6: "flannel-ipv6" };

const OUR_CHAINS = /^FLANNEL-[A-Z]-/;

/** All that flannels left in the packet filters, to be listed and removed; nothing can be put into it. */
export class Leftovers implements Table<Leftover> {
  readonly name = "firewall";
  readonly #ground: LeftoverGround;
  readonly #scope: LeftoverScope;

  constructor(ground: LeftoverGround, scope: LeftoverScope) {
    this.#ground = ground;
    this.#scope = scope;
  }

  key(row: Leftover): string {
    return this.format(row);
  }

  equal(): boolean {
    return true;
  }

  format(row: Leftover): string {
    if (row.kind === "set") return `ipset ${row.name}`;
    if (row.kind === "table") return `nftables table ${row.family} ${row.table}`;
    const { program, table, chain, rules } = row;
    return `${program.name} -t ${table} ${chain === undefined ? rules.join("; ") : `chain ${chain}`}`;
  }

  async list(options: Abortable): Promise<readonly Leftover[]> {
    const found: Leftover[] = [];
    for (const program of this.#ground.xtables) {
      const tables = await program.tables(options);
      for (const table of XTABLES_NAMES)
        if (tables.includes(table)) found.push(...this.#inXtables(program, table, await program.all(table, options)));
    }
    for (const table of await this.#ground.nftTables(options))
      if (await this.#isUnwanted(table, options)) found.push(table);
    const { ours } = this.#scope;
    if (ours.length > 0)
      for (const name of await this.#ground.sets(options))
        if (ours === "all" || ours.some((network) => ipsetName(network) === name)) found.push({ kind: "set", name });
    return found;
  }

  async apply({ removals }: Plan<Leftover>, options: Abortable): Promise<readonly RowFailure<Leftover>[]> {
    const failures: RowFailure<Leftover>[] = [];
    const tables = removals.filter((row) => row.kind === "table");
    if (tables.length > 0) await this.#ground.removeNft(tables, options);
    // Sets stand last in a listing: those who name them go first.
    for (const row of removals)
      if (row.kind !== "table")
        await this.#remove(row, options).catch((error: unknown) => {
          options.signal.throwIfAborted();
          failures.push({ row, error: error instanceof Error ? error : new Error(String(error)) });
        });
    return failures;
  }

  #remove(row: XtablesLeftover | SetLeftover, options: Abortable): Promise<void> {
    return row.kind === "set"
      ? this.#ground.removeSet(row.name, options)
      : row.program.restore(removalOf(row), options);
  }

  #inXtables(program: RunXtables, table: XtablesName, lines: readonly string[]): readonly Leftover[] {
    const chains = lines.flatMap((line) => /^-N (\S+)$/.exec(line)?.[1] ?? []);
    const rules = lines.filter((line) => line.startsWith("-A "));
    const found: Leftover[] = chains
      .filter((chain) => this.#isUnwantedChain(table, chain, rules))
      .map((chain) => ({
        kind: "chain",
        program,
        table,
        chain,
        rules: rules.filter((rule) => targetOf(rule) === chain),
      }));
    if (table === "nat")
      for (const network of this.#scope.others)
        for (const rule of referenceRules(network))
          for (const line of rules)
            if (line === rule || line === `${rule} --random-fully`)
              found.push({ kind: "rule", program, table, chain: undefined, rules: [line] });
    return found;
  }

  #isUnwantedChain(table: XtablesName, chain: string, rules: readonly string[]): boolean {
    const { ours, others, allOthers } = this.#scope;
    if (OUR_CHAINS.test(chain))
      return (
        ours === "all" ||
        ours.some((network) => CHAIN_PURPOSES.some((purpose) => xtablesChainName(purpose, network) === chain))
      );
    if (chain !== OTHERS_CHAINS[table]) return false;
    const text = rules.filter((rule) => rule.startsWith(`-A ${chain} `)).join("\n");
    return allOthers || others.some((network) => text.includes(` ${formatPrefix(network)} `));
  }

  async #isUnwanted(table: NftLeftover, options: Abortable): Promise<boolean> {
    const { ours, others, allOthers } = this.#scope;
    if (table.table !== OTHERS_TABLES[table.family]) {
      if (ours === "all") return true;
      return ours.some(
        ({ address, length }) =>
          nftTableName({ address, length }) === table.table && (address.family === 4) === (table.family === "ip"),
      );
    }
    if (allOthers) return true;
    if (others.length === 0) return false;
    const content = await this.#ground.nftContent(table, options);
    return others.some((network) => content.includes(` ${formatPrefix(network)} `));
  }
}

/** What `--ip-masq` of 0.7.0 appends to POSTROUTING. */
function referenceRules(network: Prefix): readonly string[] {
  const n = formatPrefix(network);
  const multicast = network.address.family === 4 ? "224.0.0.0/4" : "ff00::/8";
  return [
    `-A POSTROUTING -s ${n} -d ${n} -j RETURN`,
    `-A POSTROUTING -s ${n} ! -d ${multicast} -j MASQUERADE`,
    `-A POSTROUTING ! -s ${n} -d ${n} -j MASQUERADE`,
  ];
}

function removalOf({ table, chain, rules }: XtablesLeftover): string {
  const lines = rules.map((rule) => rule.replace(/^-A /, "-D "));
  if (chain !== undefined) lines.push(`:${chain} - [0:0]`, `-X ${chain}`);
  return [`*${table}`, ...lines, "COMMIT", ""].join("\n");
}

/** Whether a table of nftables may be a flannel's, by its name. */
export function isFlannelTable(name: string): boolean {
  return /^flannel-[\da-f_.]+-\d{1,3}$/.test(name) || Object.values(OTHERS_TABLES).includes(name);
}
