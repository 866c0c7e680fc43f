import { Dataplane } from "../../dataplane/dataplane.ts";
import { type Layer, layer, type Table } from "../../dataplane/table.ts";
import type { Prefix } from "../../ip/prefix.ts";
import { formatPrefix } from "../../ip/prefix.ts";
import type { Firewall, FirewallSurvey, XtablesKind } from "../../kernel/firewall/firewall.ts";
import type { FirewallChain } from "../../kernel/firewall/rule.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Clock, Milliseconds } from "../../lib/clock.ts";
import type { Logger } from "../../lib/logger.ts";
import { Scope } from "../../lib/scope.ts";
import { type ChosenFlavour, chooseFlavour, type FlavourChoice } from "./flavour.ts";
import { forwardChain, masqueradeChain } from "./rules.ts";

/** What the operator wants of the host's packet filters. */
export interface FirewallPolicy {
  readonly flavour: FlavourChoice;
  /** `--ip-masq` */
  readonly masquerade: boolean;
  /** `--ip-masq-exclude` */
  readonly excluded: readonly Prefix[];
}

export interface NetworkFirewallOptions {
  readonly firewall: Firewall;
  readonly policy: FirewallPolicy;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** A daemon is ready without its masquerading if that takes longer than this: pods reach each other without. */
const LONGEST_WAIT: Milliseconds = 5_000;

const KINDS: readonly XtablesKind[] = ["nft", "legacy"];

interface Wanted {
  readonly network: Prefix;
  readonly subnet: Prefix;
}

interface FamilyTables {
  readonly nft: Table<FirewallChain>;
  readonly xtables: Readonly<Record<XtablesKind, Table<FirewallChain> | undefined>>;
}

/**
 * Keeps one network's rules in the host's packet filters, beside the dataplane that carries packets: programs are slow. Rules stay when
 * it ends.
 */
export class NetworkFirewall {
  readonly #firewall: Firewall;
  readonly #policy: FirewallPolicy;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #dataplane: Dataplane;
  readonly #tables = new Map<string, FamilyTables>();
  readonly #said = new Set<string>();
  #wanted: Wanted | undefined;
  /** Chosen once: rules that move about would be worse than rules in a place that is not the best any more. */
  #flavour: ChosenFlavour | undefined;
  #asked: Promise<void> = Promise.resolve();

  constructor({ firewall, policy, clock, logger }: NetworkFirewallOptions) {
    this.#firewall = firewall;
    this.#policy = policy;
    this.#clock = clock;
    this.#logger = logger;
    this.#dataplane = new Dataplane({ clock, logger });
  }

  /** Works until the signal aborts, once. */
  async run({ signal }: Abortable): Promise<void> {
    await using scope = new Scope(signal);
    using _watch = this.#firewall.watchSurvey(() => this.#renew({ signal: scope.signal }));
    scope.spawn((signal) => this.#dataplane.run({ signal }));
    await scope.join();
  }

  /** Declares whose rules are wanted. Rules of a subnet that was held before give way to these. */
  want(network: Prefix, subnet: Prefix, options: Abortable): void {
    this.#wanted = { network, subnet };
    this.#renew(options);
  }

  /** Resolves when what is wanted is in place, or when that takes too long to wait for. Rejects with `signal.reason`. */
  async settled({ signal }: Abortable): Promise<void> {
    const tooLate = new AbortController();
    const ends = AbortSignal.any([signal, tooLate.signal]);
    const late = async () => {
      await this.#clock.sleep(LONGEST_WAIT, { signal: ends });
      tooLate.abort();
    };
    const inPlace = async () => {
      await this.#asked;
      await this.#dataplane.founded({ signal: ends });
      tooLate.abort();
    };
    await Promise.allSettled([inPlace(), late()]);
    signal.throwIfAborted();
  }

  /** Looks at the host and declares the layers; one look after the other. */
  #renew(options: Abortable): void {
    const wanted = this.#wanted;
    if (wanted === undefined) return;
    const before = this.#asked;
    this.#asked = this.#lookAndDeclare(before, wanted, options);
  }

  async #lookAndDeclare(before: Promise<void>, wanted: Wanted, options: Abortable): Promise<void> {
    await before;
    try {
      const survey = await this.#firewall.survey(wanted.network, options);
      const layers = this.#layers(wanted, survey);
      this.#dataplane.want(() => ({ layers, spareUnknown: false }));
    } catch (error) {
      if (!options.signal.aborted) this.#say("cannot look at the host's packet filters", { error });
    }
  }

  #layers(wanted: Wanted, survey: FirewallSurvey): readonly Layer[] {
    const { masquerade, excluded, flavour: choice } = this.#policy;
    const flavour = this.#choose(wanted, survey);
    const tables = this.#tablesOf(wanted.network);
    const rowsOf = (which: string) =>
      masquerade && flavour === which ? [masqueradeChain({ ...wanted, excluded })] : [];
    const layers: Layer[] = [];
    if (survey.nftables) {
      const rows = rowsOf("nftables");
      layers.push(layer(tables.nft, rows, { isFoundation: rows.length > 0 }));
    }
    for (const kind of KINDS) {
      const isForwardFiltered = choice !== "none" && survey[kind].tables.includes("filter");
      const table = tables.xtables[kind];
      if (table === undefined) {
        if (isForwardFiltered)
          this.#say(`cannot let the overlay pass: there are rules of iptables-${kind} here, but not the program`);
        continue;
      }
      const masqueradeRows = rowsOf(`iptables-${kind}`);
      const rows = [...masqueradeRows, ...(isForwardFiltered ? [forwardChain(wanted.network)] : [])];
      layers.push(layer(table, rows, { isFoundation: masqueradeRows.length > 0 }));
    }
    return layers;
  }

  #choose({ network }: Wanted, survey: FirewallSurvey): string | undefined {
    const { flavour: choice, masquerade } = this.#policy;
    if (choice === "none") return undefined;
    this.#flavour ??= chooseFlavour(choice, survey);
    if (this.#flavour === undefined) {
      const needed = choice === "auto" ? "neither nft nor iptables" : `${choice} is not`;
      this.#say(
        masquerade ? "cannot masquerade as asked by --ip-masq" : "cannot look after forwarding and the underlay",
        {
          reason:
            choice === "auto"
              ? `${needed} can be used on this host`
              : `--firewall=${choice}, which ${needed} usable here`,
        },
      );
    } else if (masquerade) {
      const { flavour, reason } = this.#flavour;
      this.#sayOnce("masquerading", () =>
        this.#logger.info("masquerading what leaves the overlay", {
          network: formatPrefix(network),
          by: flavour,
          reason,
        }),
      );
    }
    return this.#flavour?.flavour;
  }

  #tablesOf(network: Prefix): FamilyTables {
    const key = formatPrefix(network);
    const known = this.#tables.get(key);
    if (known !== undefined) return known;
    const tables: FamilyTables = {
      nft: this.#firewall.nftTable(network),
      xtables: {
        nft: this.#firewall.xtablesTable("nft", network),
        legacy: this.#firewall.xtablesTable("legacy", network),
      },
    };
    this.#tables.set(key, tables);
    return tables;
  }

  #say(message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.#sayOnce(message, () => this.#logger.warn(message, fields));
  }

  #sayOnce(what: string, say: () => void): void {
    if (this.#said.has(what)) return;
    this.#said.add(what);
    say();
  }
}
