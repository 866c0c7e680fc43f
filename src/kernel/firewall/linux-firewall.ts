import type { Table } from "../../dataplane/table.ts";
import type { Address, Family } from "../../ip/address.ts";
import type { Prefix } from "../../ip/prefix.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { type Logger, silentLogger } from "../../lib/logger.ts";
import type { Firewall, FirewallSurvey, XtablesKind, XtablesSurvey } from "./firewall.ts";
import { IpsetKernel } from "./ipset-kernel.ts";
import { IpsetTable } from "./ipset-table.ts";
import {
  isFlannelTable,
  type Leftover,
  type LeftoverGround,
  type LeftoverScope,
  Leftovers,
  type NftLeftover,
} from "./leftovers.ts";
import { LegacyTables } from "./legacy-tables.ts";
import { type NftChange, NftChanges } from "./nft-changes.ts";
import { NftKernel } from "./nft-kernel.ts";
import { type NftJson, nftFamily } from "./nft-rule.ts";
import { NftSetTable } from "./nft-set-table.ts";
import { NFPROTO, type NftObject, NftTable, type RunNft } from "./nft-table.ts";
import { type BlockingRule, blockingRule, type ObstacleGround } from "./obstacles.ts";
import type { Probe } from "./probe.ts";
import { findProgram, realName, run } from "./program.ts";
import { type FirewallChain, ipsetName, isIpsetName, NFT_CHAINS, nftTableName } from "./rule.ts";
import { findXtables, type XtablesGround, xtablesTables } from "./xtables-program.ts";
import { XtablesTable } from "./xtables-table.ts";

export interface FirewallOptions extends Abortable {
  /** The network namespace, a path such as `/run/netns/red`; undefined is where we are. */
  readonly namespace?: string;
  readonly logger?: Logger;
}

export async function openFirewall({ namespace, logger = silentLogger, signal }: FirewallOptions): Promise<Firewall> {
  const nft = await NftKernel.open(namespace, { signal });
  let changes: NftChanges | undefined;
  try {
    changes = nft === undefined ? undefined : new NftChanges(namespace, logger);
  } catch (error) {
    nft?.[Symbol.dispose]();
    throw error;
  }
  const ipset = new IpsetKernel(namespace);
  const firewall = new LinuxFirewall({ namespace, nft, changes, legacy: new LegacyTables(namespace) }, ipset);
  if (!firewall.hasNftables && (await ipset.isThere({ signal }))) firewall.hasIpset = true;
  return firewall;
}

class LinuxFirewall implements Firewall {
  readonly #ground: XtablesGround;
  readonly #nftPath = findProgram("nft");
  readonly #ipset: IpsetKernel;
  /** Only of interest without nftables. */
  hasIpset = false;

  constructor(ground: XtablesGround, ipset: IpsetKernel) {
    this.#ground = ground;
    this.#ipset = ipset;
  }

  get hasNftables(): boolean {
    return this.#nftPath !== undefined && this.#ground.nft !== undefined;
  }

  async survey(network: Prefix, options: Abortable): Promise<FirewallSurvey> {
    const { family } = network.address;
    const { nft } = this.#ground;
    const ourChain = {
      family: NFPROTO[nftFamily(family)],
      table: nftTableName(network),
      name: NFT_CHAINS.masquerade,
    };
    const usual = findProgram(family === 4 ? "iptables" : "ip6tables");
    return {
      nftables: this.hasNftables,
      isOurs: (await nft?.hasChain(ourChain, options)) ?? false,
      nft: await this.#surveyXtables("nft", family, options),
      legacy: await this.#surveyXtables("legacy", family, options),
      usual: usual === undefined ? undefined : /nft/.test(realName(usual)) ? "nft" : "legacy",
    };
  }

  async #surveyXtables(kind: XtablesKind, family: Family, options: Abortable): Promise<XtablesSurvey> {
    const tables = await xtablesTables(kind, family, this.#ground, options);
    return {
      installed: findXtables(kind, family, this.#ground) !== undefined,
      tables,
      inUse: kind === "nft" ? tables.length > 0 : this.#ground.legacy.hasRules(family),
    };
  }

  watchSurvey(onChange: () => void): Disposable {
    const { changes, legacy } = this.#ground;
    const ends = new DisposableStack();
    ends.use(legacy.watch(onChange));
    if (changes !== undefined)
      ends.use(
        changes.subscribe({
          concerns: ({ table, owner, isChain }) =>
            (table === "filter" || table === "nat") && (isChain || owner === undefined),
          onChange,
        }),
      );
    return ends;
  }

  nftTable(network: Prefix, onRefused?: (packets: number) => void): Table<FirewallChain> {
    const { changes } = this.#ground;
    const subscribe = changes && ((listener: Parameters<NftChanges["subscribe"]>[0]) => changes.subscribe(listener));
    return new NftTable(this.#runNft, network, subscribe, onRefused);
  }

  peers(network: Prefix): Table<Address> | undefined {
    const { nft, changes } = this.#ground;
    if (nft !== undefined && changes !== undefined && this.#nftPath !== undefined)
      return new NftSetTable(nft, network, (listener) => changes.subscribe(listener));
    const programs = KINDS.map((kind) => findXtables(kind, network.address.family, this.#ground));
    const isMatched = this.hasIpset && programs.some((program) => program !== undefined);
    return isMatched ? new IpsetTable(this.#ipset, network) : undefined;
  }

  xtablesTable(
    kind: XtablesKind,
    network: Prefix,
    onRefused?: (packets: number) => void,
  ): Table<FirewallChain> | undefined {
    const { family } = network.address;
    const program = findXtables(kind, family, this.#ground);
    if (program === undefined) return undefined;
    const set = ipsetName(network);
    const peers = {
      ensure: (options: Abortable) => this.#ipset.ensure(set, family, options),
      destroy: (options: Abortable) => this.#ipset.destroy(set, options),
    };
    return new XtablesTable(program, network, peers, onRefused);
  }

  watchOthers(onChange: () => void): Disposable {
    const concerns = ({ table, owner }: NftChange) => !isFlannelTable(table) && !owner?.startsWith("FLANNEL-");
    const { changes, legacy } = this.#ground;
    const ends = new DisposableStack();
    ends.use(legacy.watch(onChange));
    if (changes !== undefined) ends.use(changes.subscribe({ concerns, onChange }));
    return ends;
  }

  async blockingRule(probes: readonly Probe[], options: Abortable): Promise<BlockingRule | undefined> {
    const { nft, namespace, legacy } = this.#ground;
    const list = (args: readonly string[], { signal }: Abortable) => run(this.#nft(), args, { namespace, signal });
    const ground: ObstacleGround = {
      nft:
        nft && this.#nftPath !== undefined
          ? {
              kernel: nft,
              table: async (family, table, options) =>
                objectsOf(await list(["-j", "list", "table", family, table], options)),
              chainText: (family, table, chain, options) =>
                list(["-s", "-a", "list", "chain", family, table, chain], options),
            }
          : undefined,
      xtables: async (family, name, options) => {
        const chain = { family: NFPROTO[nftFamily(family)], table: "filter", name };
        const used = [
          ...((await nft?.hasChain(chain, options)) ? (["nft"] as const) : []),
          ...(legacy.names(family).includes("filter") ? (["legacy"] as const) : []),
        ];
        const programs = used.map((kind) => findXtables(kind, family, this.#ground));
        return programs.filter((program) => program !== undefined);
      },
    };
    return await blockingRule(ground, probes, options);
  }

  leftovers(scope: LeftoverScope): Table<Leftover> {
    const programs = KINDS.flatMap((kind) =>
      ([4, 6] as const).map((family) => findXtables(kind, family, this.#ground)),
    );
    const ground: LeftoverGround = {
      xtables: programs.filter((program) => program !== undefined),
      nftTables: (options) => this.#flannelTables(options),
      nftContent: ({ family, table }, { signal }) =>
        run(this.#nft(), ["list", "table", family, table], { namespace: this.#ground.namespace, signal }),
      removeNft: (tables, options) =>
        this.#runNft.apply(
          // Made first, so that there is one to delete.
          tables.flatMap(({ family, table: name }) => [
            { add: { table: { family, name } } },
            { delete: { table: { family, name } } },
          ]),
          options,
        ),
      sets: async (options) => {
        const names = (await this.#ipset.isThere(options)) ? await this.#ipset.names(options) : [];
        return names.filter(isIpsetName);
      },
      removeSet: (name, options) => this.#ipset.destroy(name, options),
    };
    return new Leftovers(ground, scope);
  }

  async #flannelTables(options: Abortable): Promise<readonly NftLeftover[]> {
    const tables = (await this.#ground.nft?.tables(options)) ?? [];
    return tables.flatMap(({ family: number, table }): readonly NftLeftover[] => {
      const family = number === NFPROTO.ip ? "ip" : number === NFPROTO.ip6 ? "ip6" : undefined;
      return family !== undefined && isFlannelTable(table) ? [{ kind: "table", family, table }] : [];
    });
  }

  [Symbol.dispose](): void {
    this.#ground.changes?.[Symbol.dispose]();
    this.#ground.nft?.[Symbol.dispose]();
    this.#ipset[Symbol.dispose]();
  }

  readonly #runNft: RunNft = {
    table: async (family, table, { signal }) => {
      const { namespace, nft } = this.#ground;
      const isThere = () => nft?.hasTable({ family: NFPROTO[family], table }, { signal });
      if (!(await isThere())) return [];
      try {
        return objectsOf(await run(this.#nft(), ["-j", "list", "table", family, table], { namespace, signal }));
      } catch (error) {
        if (await isThere()) throw error;
        return []; // somebody removed it meanwhile
      }
    },
    apply: async (commands, { signal }) => {
      const { namespace, changes } = this.#ground;
      const input = JSON.stringify({ nftables: commands });
      const onStart = changes === undefined ? {} : { onStart: changes.expect };
      await run(this.#nft(), ["-j", "-f", "-"], { namespace, input, signal, ...onStart });
    },
  };

  #nft(): string {
    if (this.#nftPath === undefined) throw new Error("the program nft is not installed");
    return this.#nftPath;
  }
}

const KINDS: readonly XtablesKind[] = ["nft", "legacy"];

/** @throws {Error} if that is not what nft writes */
function objectsOf(text: string): readonly NftObject[] {
  const listing = JSON.parse(text) as { readonly nftables?: NftJson };
  if (!Array.isArray(listing.nftables)) throw new Error("nft wrote a listing without objects");
  return listing.nftables as readonly NftObject[];
}
