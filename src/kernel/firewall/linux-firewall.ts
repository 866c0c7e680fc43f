import type { Table } from "../../dataplane/table.ts";
import type { Family } from "../../ip/address.ts";
import type { Prefix } from "../../ip/prefix.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { type Logger, silentLogger } from "../../lib/logger.ts";
import type { Firewall, FirewallSurvey, XtablesKind, XtablesSurvey } from "./firewall.ts";
import { LegacyTables } from "./legacy-tables.ts";
import { NftChanges } from "./nft-changes.ts";
import { NftKernel } from "./nft-kernel.ts";
import { type NftJson, nftFamily } from "./nft-rule.ts";
import { NFPROTO, type NftObject, NftTable, type RunNft } from "./nft-table.ts";
import { findProgram, realName, run } from "./program.ts";
import { type FirewallChain, NFT_CHAINS, nftTableName } from "./rule.ts";
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
  return new LinuxFirewall({ namespace, nft, changes, legacy: new LegacyTables(namespace) });
}

class LinuxFirewall implements Firewall {
  readonly #ground: XtablesGround;
  readonly #nftPath = findProgram("nft");

  constructor(ground: XtablesGround) {
    this.#ground = ground;
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
      nftables: this.#nftPath !== undefined && nft !== undefined,
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

  nftTable(network: Prefix): Table<FirewallChain> {
    const { changes } = this.#ground;
    return new NftTable(
      this.#runNft,
      network,
      changes === undefined ? undefined : (listener) => changes.subscribe(listener),
    );
  }

  xtablesTable(kind: XtablesKind, network: Prefix): Table<FirewallChain> | undefined {
    const program = findXtables(kind, network.address.family, this.#ground);
    return program === undefined ? undefined : new XtablesTable(program, network);
  }

  [Symbol.dispose](): void {
    this.#ground.changes?.[Symbol.dispose]();
    this.#ground.nft?.[Symbol.dispose]();
  }

  readonly #runNft: RunNft = {
    table: async (family, table, { signal }) => {
      const { namespace, nft } = this.#ground;
      if (!(await nft?.hasTable({ family: NFPROTO[family], table }, { signal }))) return [];
      return objectsOf(await run(this.#nft(), ["-j", "list", "table", family, table], { namespace, signal }));
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

/** @throws {Error} if that is not what nft writes */
function objectsOf(text: string): readonly NftObject[] {
  const listing = JSON.parse(text) as { readonly nftables?: NftJson };
  if (!Array.isArray(listing.nftables)) throw new Error("nft wrote a listing without objects");
  return listing.nftables as readonly NftObject[];
}
