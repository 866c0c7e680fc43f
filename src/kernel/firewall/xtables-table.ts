import type { Plan, RowFailure, Table } from "../../dataplane/table.ts";
import type { Prefix } from "../../ip/prefix.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { Readback } from "./readback.ts";
import {
  CHAIN_PURPOSES,
  type ChainPurpose,
  type FirewallChain,
  type FirewallRule,
  firewallChains,
  xtablesChainName,
} from "./rule.ts";
import { mayPrecede, xtablesRules } from "./xtables-rule.ts";

/** Where a chain of ours is called from: among others, or before them, where an accept of theirs would end a packet's way. */
interface XtablesPlace extends Omit<XtablesChain, "chain"> {
  readonly from: string;
  readonly isFirst: boolean;
}

/** In `mangle` nobody else's accept matters for what comes after it, and a drop is as final as anywhere. */
const PLACES: Readonly<Record<ChainPurpose, XtablesPlace>> = {
  masquerade: { table: "nat", from: "POSTROUTING", isFirst: false },
  forward: { table: "filter", from: "FORWARD", isFirst: true },
  clamp: { table: "mangle", from: "FORWARD", isFirst: true },
  underlay: { table: "mangle", from: "INPUT", isFirst: true },
};

export const XTABLES_NAMES = ["nat", "filter", "mangle"] as const;
export type XtablesName = (typeof XTABLES_NAMES)[number];

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
  /** How many packets the rules of a chain have dropped; 0 if there is no such chain. */
  dropped(table: XtablesName, chain: string, options: Abortable): Promise<number>;
  watch(chains: readonly XtablesChain[], onChange: () => void): Disposable;
}

export interface XtablesChain {
  readonly table: XtablesName;
  readonly chain: string;
}

/** The set that rules of {@link FirewallRule.fromPeer} name. */
export interface XtablesPeers {
  /** Makes it, empty, if there is none: such a rule can only be made when there is one. */
  ensure(options: Abortable): Promise<void>;
  /** Removes it, unless it is not there or is needed. */
  destroy(options: Abortable): Promise<void>;
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
  readonly #peers: XtablesPeers;
  readonly #onRefused: ((packets: number) => void) | undefined;
  readonly #readback = new Readback();

  /** @param onRefused told at every listing how many packets of strangers have been refused since that chain was made */
  constructor(program: RunXtables, network: Prefix, peers: XtablesPeers, onRefused?: (packets: number) => void) {
    this.#program = program;
    this.#network = network;
    this.#peers = peers;
    this.#onRefused = onRefused;
    this.name = program.name;
  }

  equal(desired: FirewallChain, actual: FirewallChain): boolean {
    const [called, ...rules] = this.#linesOf(desired);
    const [found, ...listed] = this.#linesOf(actual);
    return called === found && this.#readback.equal(desired.purpose, rules, listed);
  }

  async list(options: Abortable): Promise<readonly FirewallChain[]> {
    const tables = await this.#program.tables(options);
    const rows = await Promise.all(
      CHAIN_PURPOSES.filter((purpose) => tables.includes(PLACES[purpose].table)).map((purpose) =>
        this.#look(purpose, options),
      ),
    );
    if (rows.some((row) => row?.purpose === "underlay")) await this.#countRefused(options);
    return rows.filter((row) => row !== undefined);
  }

  async #countRefused(options: Abortable): Promise<void> {
    const { table } = PLACES.underlay;
    this.#onRefused?.(await this.#program.dropped(table, this.#chain("underlay"), options));
  }

  async apply(plan: Plan<FirewallChain>, options: Abortable): Promise<readonly RowFailure<FirewallChain>[]> {
    const failures: RowFailure<FirewallChain>[] = [];
    const failed = (row: FirewallChain, error: unknown) => {
      options.signal.throwIfAborted();
      failures.push({ row, error: error instanceof Error ? error : new Error(String(error)) });
    };
    // Row by row: what this kernel or this iptables cannot do spoils nothing else.
    for (const row of plan.puts)
      await this.#write(() => this.#put(row, options), options).then(
        () => this.#readAgain(row, options),
        (error) => failed(row, error),
      );
    for (const row of plan.removals)
      await this.#write(() => this.#remove(row, options), options).then(
        () => (row.purpose === "underlay" ? this.#peers.destroy(options) : undefined),
        (error) => failed(row, error),
      );
    return failures;
  }

  async #write(text: () => Promise<string>, options: Abortable): Promise<void> {
    for (let attempt = 1; ; attempt++)
      try {
        return await this.#program.restore(await text(), options);
      } catch (error) {
        options.signal.throwIfAborted();
        if (attempt === ATTEMPTS) throw error;
      }
  }

  async #readAgain(row: FirewallChain, options: Abortable): Promise<void> {
    // Where it is called from has no other words: that it is elsewhere is somebody's doing.
    const [, ...rules] = this.#linesOf(row);
    if (!this.#readback.wrote(row.purpose, rules)) return;
    const found = await this.#look(row.purpose, options);
    this.#readback.read(row.purpose, rules, found?.listed?.slice(1) ?? []);
  }

  watch(onChange: () => void): Disposable {
    const chains = CHAIN_PURPOSES.flatMap((purpose) => {
      const { table, from } = PLACES[purpose];
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
    return [call(purpose, chain), ...this.#rulesOf(chain, rules)];
  }

  #rulesOf(chain: string, rules: readonly FirewallRule[]): readonly string[] {
    return rules.flatMap((rule) => xtablesRules(chain, rule, this.#network));
  }

  /** The first line tells whether and where the chain is called; the others are its rules. */
  async #look(purpose: ChainPurpose, options: Abortable): Promise<FirewallChain | undefined> {
    const { table, from } = PLACES[purpose];
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
    const above = PLACES[purpose].isFirst
      ? rules.slice(0, rules.indexOf(jump)).find((line) => !mayPrecede(line))
      : undefined;
    return above === undefined ? jump : `called only after ${above}`;
  }

  async #put(row: FirewallChain, options: Abortable): Promise<string> {
    const { purpose, rules } = row;
    const { table, from, isFirst } = PLACES[purpose];
    if (purpose === "underlay") await this.#peers.ensure(options);
    const chain = this.#chain(purpose);
    const jump = call(purpose, chain);
    const callers = (await this.#callers(purpose, options)).filter((line) => line.startsWith("-A "));
    const lines = [`:${chain} - [0:0]`, ...this.#rulesOf(chain, rules)];
    if (this.#called(purpose, chain, callers) !== jump) {
      const others = callers.filter((line) => line !== jump);
      const leading = others.findIndex((line) => !mayPrecede(line));
      const place = leading < 0 ? others.length : leading;
      lines.push(...callers.filter((line) => line === jump).map((line) => line.replace("-A ", "-D ")));
      lines.push(isFirst ? `-I ${from} ${place + 1} -j ${chain}` : jump);
    }
    return section(table, lines);
  }

  async #remove({ purpose }: FirewallChain, options: Abortable): Promise<string> {
    const { table } = PLACES[purpose];
    const chain = this.#chain(purpose);
    const jump = call(purpose, chain);
    const jumps = (await this.#callers(purpose, options)).filter((line) => line === jump);
    return section(table, [...jumps.map((line) => line.replace("-A ", "-D ")), `:${chain} - [0:0]`, `-X ${chain}`]);
  }

  async #callers(purpose: ChainPurpose, options: Abortable): Promise<readonly string[]> {
    const { table, from } = PLACES[purpose];
    const isThere = (await this.#program.tables(options)).includes(table);
    return isThere ? ((await this.#program.rules(table, from, options)) ?? []) : [];
  }
}

function call(purpose: ChainPurpose, chain: string): string {
  return `-A ${PLACES[purpose].from} -j ${chain}`;
}

function section(table: string, lines: readonly string[]): string {
  return [`*${table}`, ...lines, "COMMIT", ""].join("\n");
}
