import type { Plan, RowFailure, Table } from "../../dataplane/table.ts";
import type { Prefix } from "../../ip/prefix.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { Readback } from "./readback.ts";
import { type ChainPurpose, type FirewallChain, firewallChains, xtablesChainName } from "./rule.ts";
import { mayPrecede, xtablesRule } from "./xtables-rule.ts";

/** Where a chain of ours is called from. */
const PLACES: Readonly<Record<XtablesPurpose, { readonly table: XtablesName; readonly from: string }>> = {
  masquerade: { table: "nat", from: "POSTROUTING" },
  forward: { table: "filter", from: "FORWARD" },
};
const PURPOSES = Object.keys(PLACES) as readonly XtablesPurpose[];

/** The underlay is looked after by nftables, or not at all. */
type XtablesPurpose = Exclude<ChainPurpose, "underlay">;

function placeOf(purpose: ChainPurpose) {
  if (purpose === "underlay") throw new Error("iptables has no rules for the underlay");
  return PLACES[purpose];
}

export type XtablesName = "nat" | "filter";

/** One flavour of iptables for one address family. */
export interface RunXtables {
  /** `iptables-nft` */
  readonly name: string;
  /** Those that exist: looking for one that does not would make it. */
  tables(options: Abortable): Promise<readonly string[]>;
  /** `iptables -t nat -S CHAIN`; undefined if there is no such chain. */
  rules(table: XtablesName, chain: string, options: Abortable): Promise<readonly string[] | undefined>;
  /** `iptables -t nat -S`: all chains and rules of a table that exists. */
  all(table: XtablesName, options: Abortable): Promise<readonly string[]>;
  /** One transaction for each table. */
  restore(text: string, options: Abortable): Promise<void>;
  watch(chains: readonly XtablesChain[], onChange: () => void): Disposable;
}

export interface XtablesChain {
  readonly table: XtablesName;
  readonly chain: string;
}

/** Between our look at a chain and our write to it somebody else may write, too. */
const ATTEMPTS = 3;

/** What is listed where a chain of ours is not called as it should be. */
const NOT_CALLED = "not called";

/** The chains of one network in one iptables, each called from the chain whose packets it is for. */
export class XtablesTable implements Table<FirewallChain> {
  readonly name: string;
  readonly key = firewallChains.key;
  readonly format = firewallChains.format;
  readonly #program: RunXtables;
  readonly #network: Prefix;
  readonly #readback = new Readback();

  constructor(program: RunXtables, network: Prefix) {
    this.#program = program;
    this.#network = network;
    this.name = program.name;
  }

  equal(desired: FirewallChain, actual: FirewallChain): boolean {
    return this.#readback.equal(desired.purpose, this.#linesOf(desired), this.#linesOf(actual));
  }

  async list(options: Abortable): Promise<readonly FirewallChain[]> {
    const tables = await this.#program.tables(options);
    const rows = await Promise.all(
      PURPOSES.filter((purpose) => tables.includes(placeOf(purpose).table)).map((purpose) =>
        this.#look(purpose, options),
      ),
    );
    return rows.filter((row) => row !== undefined);
  }

  async apply(plan: Plan<FirewallChain>, options: Abortable): Promise<readonly RowFailure<FirewallChain>[]> {
    for (let attempt = 1; ; attempt++) {
      const sections = [
        ...(await Promise.all(plan.puts.map((row) => this.#put(row, options)))),
        ...(await Promise.all(plan.removals.map((row) => this.#remove(row, options)))),
      ];
      try {
        await this.#program.restore(sections.join(""), options);
        break;
      } catch (error) {
        options.signal.throwIfAborted();
        if (attempt === ATTEMPTS) throw error;
      }
    }
    for (const row of plan.puts) {
      if (!this.#readback.wrote(row.purpose, this.#linesOf(row))) continue;
      const found = await this.#look(row.purpose, options);
      this.#readback.read(row.purpose, this.#linesOf(row), found?.listed ?? []);
    }
    return [];
  }

  watch(onChange: () => void): Disposable {
    const chains = PURPOSES.flatMap((purpose) => {
      const { table, from } = placeOf(purpose);
      return [from, this.#chain(purpose)].map((chain) => ({ table, chain }));
    });
    return this.#program.watch(chains, onChange);
  }

  #chain(purpose: ChainPurpose): string {
    return xtablesChainName(purpose, this.#network);
  }

  /** As it would be listed, or was. */
  #linesOf({ purpose, rules, listed }: FirewallChain): readonly string[] {
    if (listed !== undefined) return listed;
    const chain = this.#chain(purpose);
    return [call(purpose, chain), ...rules.map((rule) => xtablesRule(chain, rule))];
  }

  /** The first line tells whether and where the chain is called; the others are its rules. */
  async #look(purpose: ChainPurpose, options: Abortable): Promise<FirewallChain | undefined> {
    const { table, from } = placeOf(purpose);
    const chain = this.#chain(purpose);
    const [callers = [], content] = await Promise.all([
      this.#program.rules(table, from, options),
      this.#program.rules(table, chain, options),
    ]);
    if (content === undefined) return undefined;
    const called = this.#called(purpose, chain, callers);
    return { purpose, rules: [], listed: [called, ...content.filter((line) => line.startsWith("-A "))] };
  }

  #called(purpose: ChainPurpose, chain: string, callers: readonly string[]): string {
    const jump = call(purpose, chain);
    const rules = callers.filter((line) => line.startsWith("-A "));
    const count = rules.filter((line) => line === jump).length;
    if (count === 0) return NOT_CALLED;
    if (count > 1) return `called ${count} times`;
    const above =
      purpose === "forward" ? rules.slice(0, rules.indexOf(jump)).find((line) => !mayPrecede(line)) : undefined;
    return above === undefined ? jump : `called only after ${above}`;
  }

  async #put(row: FirewallChain, options: Abortable): Promise<string> {
    const { purpose, rules } = row;
    const { table, from } = placeOf(purpose);
    const chain = this.#chain(purpose);
    const jump = call(purpose, chain);
    const callers = (await this.#callers(purpose, options)).filter((line) => line.startsWith("-A "));
    const lines = [`:${chain} - [0:0]`, ...rules.map((rule) => xtablesRule(chain, rule))];
    if (this.#called(purpose, chain, callers) !== jump) {
      const others = callers.filter((line) => line !== jump);
      const leading = others.findIndex((line) => !mayPrecede(line));
      const place = leading < 0 ? others.length : leading;
      lines.push(...callers.filter((line) => line === jump).map((line) => line.replace("-A ", "-D ")));
      lines.push(purpose === "forward" ? `-I ${from} ${place + 1} -j ${chain}` : jump);
    }
    return section(table, lines);
  }

  async #remove({ purpose }: FirewallChain, options: Abortable): Promise<string> {
    const { table } = placeOf(purpose);
    const chain = this.#chain(purpose);
    const jump = call(purpose, chain);
    const jumps = (await this.#callers(purpose, options)).filter((line) => line === jump);
    return section(table, [...jumps.map((line) => line.replace("-A ", "-D ")), `:${chain} - [0:0]`, `-X ${chain}`]);
  }

  async #callers(purpose: ChainPurpose, options: Abortable): Promise<readonly string[]> {
    const { table, from } = placeOf(purpose);
    const isThere = (await this.#program.tables(options)).includes(table);
    return isThere ? ((await this.#program.rules(table, from, options)) ?? []) : [];
  }
}

function call(purpose: ChainPurpose, chain: string): string {
  return `-A ${placeOf(purpose).from} -j ${chain}`;
}

function section(table: string, lines: readonly string[]): string {
  return [`*${table}`, ...lines, "COMMIT", ""].join("\n");
}
