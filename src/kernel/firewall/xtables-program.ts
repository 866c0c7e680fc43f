import type { Family } from "../../ip/address.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { NFPROTO_IPV4, NFPROTO_IPV6 } from "../../wire/nftables-message.ts";
import type { XtablesKind } from "./firewall.ts";
import type { LegacyTables } from "./legacy-tables.ts";
import type { NftChanges } from "./nft-changes.ts";
import type { NftKernel } from "./nft-kernel.ts";
import { execute, findProgram, ProgramError, realName, run } from "./program.ts";
import type { RunXtables, XtablesChain, XtablesName } from "./xtables-table.ts";

/** How long to wait for another that holds iptables' lock. Seconds. */
const WAIT = "5";

/** The chains that ours are called from: a table of iptables-nft has one if somebody used it. */
const BASE_CHAINS: Readonly<Record<XtablesName, readonly string[]>> = {
  nat: ["POSTROUTING"],
  filter: ["FORWARD"],
  mangle: ["FORWARD", "INPUT"],
};

/** What the flavours of iptables work on. */
export interface XtablesGround {
  readonly namespace: string | undefined;
  readonly nft: NftKernel | undefined;
  readonly changes: NftChanges | undefined;
  readonly legacy: LegacyTables;
}

/** @returns undefined if that flavour is not installed */
export function findXtables(kind: XtablesKind, family: Family, ground: XtablesGround): RunXtables | undefined {
  const base = family === 4 ? "iptables" : "ip6tables";
  for (const name of [`${base}-${kind}`, base]) {
    const list = findProgram(name);
    const restore = findProgram(`${name}-restore`);
    if (list === undefined || restore === undefined || kindOf(list) !== kind) continue;
    return new XtablesProgram(kind, family, { list, restore }, ground);
  }
  return undefined;
}

/** By the program behind the links: iptables before 1.8.0 has one kind only, and is called by its own name. */
function kindOf(path: string): XtablesKind {
  return /nft/.test(realName(path)) ? "nft" : "legacy";
}

/** The tables of that flavour that somebody has used, whether it is installed or not. Without a program, and without making one. */
export async function xtablesTables(
  kind: XtablesKind,
  addressFamily: Family,
  { nft, legacy }: XtablesGround,
  options: Abortable,
): Promise<readonly string[]> {
  if (kind === "legacy") return legacy.names(addressFamily);
  if (nft === undefined) return [];
  const names = Object.keys(BASE_CHAINS) as readonly XtablesName[];
  const family = addressFamily === 4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
  const hasOne = async (table: XtablesName) => {
    const found = BASE_CHAINS[table].map((name) => nft.hasChain({ family, table, name }, options));
    return (await Promise.all(found)).includes(true);
  };
  const there = await Promise.all(names.map(hasOne));
  return names.filter((_, index) => there[index]);
}

class XtablesProgram implements RunXtables {
  readonly name: string;
  readonly #kind: XtablesKind;
  readonly #family: Family;
  readonly #paths: { readonly list: string; readonly restore: string };
  readonly #ground: XtablesGround;

  constructor(
    kind: XtablesKind,
    family: Family,
    paths: { readonly list: string; readonly restore: string },
    ground: XtablesGround,
  ) {
    this.name = `${family === 4 ? "iptables" : "ip6tables"}-${kind}`;
    this.#kind = kind;
    this.#family = family;
    this.#paths = paths;
    this.#ground = ground;
  }

  tables(options: Abortable): Promise<readonly string[]> {
    return xtablesTables(this.#kind, this.#family, this.#ground, options);
  }

  async rules(table: XtablesName, chain: string, { signal }: Abortable): Promise<readonly string[] | undefined> {
    const { namespace } = this.#ground;
    const args = ["--wait", WAIT, "-t", table, "-S", chain];
    const output = await execute(this.#paths.list, args, { namespace, signal });
    if (output.code === 1) return undefined; // the only failure with this code: no such chain
    if (output.code !== 0) throw new ProgramError(`${this.name} -t ${table} -S ${chain}`, output);
    return output.stdout.split("\n").filter((line) => line !== "");
  }

  async all(table: XtablesName, { signal }: Abortable): Promise<readonly string[]> {
    const { namespace } = this.#ground;
    const text = await run(this.#paths.list, ["--wait", WAIT, "-t", table, "-S"], { namespace, signal });
    return text.split("\n").filter((line) => line !== "");
  }

  async dropped(table: XtablesName, chain: string, { signal }: Abortable): Promise<number> {
    const { namespace } = this.#ground;
    const args = ["--wait", WAIT, "-t", table, "-v", "-S", chain];
    const { stdout } = await execute(this.#paths.list, args, { namespace, signal });
    let packets = 0;
    for (const [, count] of stdout.matchAll(/ -c (\d+) \d+ -j DROP$/gm)) packets += Number(count);
    return packets;
  }

  async restore(text: string, { signal }: Abortable): Promise<void> {
    const { namespace, changes } = this.#ground;
    const onStart = changes === undefined ? {} : { onStart: changes.expect };
    await run(this.#paths.restore, ["--noflush", "--wait", WAIT], { namespace, input: text, signal, ...onStart });
  }

  watch(chains: readonly XtablesChain[], onChange: () => void): Disposable {
    const { changes, legacy } = this.#ground;
    if (this.#kind === "legacy") return legacy.watch(onChange);
    if (changes === undefined) return { [Symbol.dispose]() {} };
    const nfproto = this.#family === 4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
    return changes.subscribe({
      concerns: ({ family, table, owner }) =>
        family === nfproto &&
        chains.some((watched) => watched.table === table && (owner === undefined || watched.chain === owner)),
      onChange,
    });
  }
}
