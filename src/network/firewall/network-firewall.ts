import type { UnderlayAdmission } from "../../backend/backend.ts";
import { Dataplane } from "../../dataplane/dataplane.ts";
import { type Layer, layer, type Table } from "../../dataplane/table.ts";
import type { Address, Family } from "../../ip/address.ts";
import type { Prefix } from "../../ip/prefix.ts";
import { formatPrefix } from "../../ip/prefix.ts";
import type { Firewall, FirewallSurvey, Flavour, XtablesKind } from "../../kernel/firewall/firewall.ts";
import type { Leftover } from "../../kernel/firewall/leftovers.ts";
import type { FirewallChain } from "../../kernel/firewall/rule.ts";
import type { Lease } from "../../lease/lease.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Clock, Milliseconds } from "../../lib/clock.ts";
import type { Logger } from "../../lib/logger.ts";
import { Scope } from "../../lib/scope.ts";
import { type ChosenFlavour, chooseFlavour } from "./flavour.ts";
import { type FirewallPolicy, type Overlay, type Places, wantedChains } from "./wanted-chains.ts";

export interface NetworkFirewallOptions {
  readonly firewall: Firewall;
  readonly policy: FirewallPolicy;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** A daemon is ready without its masquerading if that takes longer than this: pods reach each other without. */
const LONGEST_WAIT: Milliseconds = 5_000;

const KINDS: readonly XtablesKind[] = ["nft", "legacy"];

interface FamilyTables {
  readonly nft: Table<FirewallChain>;
  readonly peers: Table<Address> | undefined;
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
  /** Something is wanted of the dataplane. */
  readonly #declared = Promise.withResolvers<void>();
  #wanted: readonly Overlay[] = [];
  /** Until then nothing of ours is removed: what an earlier run made keeps strangers out meanwhile. */
  #awaitsPeers = true;
  #admission: UnderlayAdmission | undefined;
  /** Packets refused as the log said last, by network. */
  readonly #refused = new Map<string, number>();
  /** Chosen once: rules that move about would be worse than rules in a place that is not the best any more. */
  readonly #flavours = new Map<Family, ChosenFlavour>();
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

  /**
   * The outer addresses of peers, for the dataplane that also leads to these: before anything is sent to a peer, its packets are let in.
   * Undefined where that is not wanted, or cannot be.
   */
  peers(network: Prefix, admission: UnderlayAdmission | undefined, leases: readonly Lease[]): Layer | undefined {
    if (!this.#admits || admission === undefined) return undefined;
    const table = this.#tablesOf(network).peers;
    if (table === undefined) return undefined;
    const addresses = leases.flatMap(({ attributes: { publicIP, publicIPv6 } }) =>
      publicIPv6 === undefined ? [publicIP] : [publicIP, publicIPv6],
    );
    return layer(
      table,
      addresses.filter(({ family }) => family === network.address.family),
    );
  }

  /** All peers are in place: from now on only their packets are let in. Rules that nobody wants may go. */
  peersKnown(admission: UnderlayAdmission | undefined, options: Abortable): void {
    this.#awaitsPeers = false;
    this.#admission = this.#admits ? admission : undefined;
    this.#renew(options);
  }

  get #admits(): boolean {
    return this.#policy.admission && this.#policy.flavour !== "none";
  }

  /** Declares whose rules are wanted, at most one of each family. Rules of a subnet that was held before give way to these. */
  want(overlays: readonly Overlay[], options: Abortable): void {
    this.#wanted = overlays;
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
      await orAbort(this.#declared.promise, ends);
      await this.#dataplane.founded({ signal: ends });
      tooLate.abort();
    };
    await Promise.allSettled([inPlace(), late()]);
    signal.throwIfAborted();
  }

  /**
   * Rules that must go now that ours stand: resolves when they do. Rejects with `signal.reason`.
   * @param networks whose rules another flannel may have made on this host
   * @param former networks that we do not serve any more
   */
  async leftovers(
    networks: readonly Prefix[],
    former: readonly Prefix[],
    { signal }: Abortable,
  ): Promise<Table<Leftover>> {
    await orAbort(this.#declared.promise, signal);
    await this.#dataplane.settled({ signal });
    const others = this.#policy.flavour === "none" ? [] : networks;
    return this.#firewall.leftovers({ others, allOthers: false, ours: former });
  }

  /** Looks at the host and declares the layers; one look after the other. */
  #renew(options: Abortable): void {
    const wanted = this.#wanted;
    if (wanted.length === 0) return;
    const before = this.#asked;
    this.#asked = this.#lookAndDeclare(before, wanted, options);
  }

  async #lookAndDeclare(before: Promise<void>, wanted: readonly Overlay[], options: Abortable): Promise<void> {
    await before;
    try {
      const layers: Layer[] = [];
      for (const overlay of wanted)
        layers.push(...this.#layers(overlay, await this.#firewall.survey(overlay.network, options)));
      this.#dataplane.want(() => ({ layers, spareUnknown: this.#awaitsPeers }));
      this.#declared.resolve();
    } catch (error) {
      if (!options.signal.aborted) this.#say("cannot look at the host's packet filters", { error });
    }
  }

  #layers(overlay: Overlay, survey: FirewallSurvey): readonly Layer[] {
    const tables = this.#tablesOf(overlay.network);
    const places = this.#places(overlay, survey);
    const layerOf = (flavour: Flavour, table: Table<FirewallChain>) => {
      const chains = wantedChains(flavour, overlay, this.#policy, places, this.#admission);
      return layer(table, chains, { isFoundation: chains.some(({ purpose }) => purpose === "masquerade") });
    };
    const layers = survey.nftables ? [layerOf("nftables", tables.nft)] : [];
    for (const kind of KINDS) {
      const table = tables.xtables[kind];
      if (table !== undefined) layers.push(layerOf(`iptables-${kind}`, table));
      else if (places.forwarding.includes(`iptables-${kind}`))
        this.#say(`cannot let the overlay pass: there are rules of iptables-${kind} here, but not the program`);
    }
    return layers;
  }

  #places(overlay: Overlay, survey: FirewallSurvey): Places {
    const usual = this.#choose(overlay, survey);
    const admission = survey.nftables ? "nftables" : this.#tablesOf(overlay.network).peers && usual;
    if (this.#admission !== undefined && admission === undefined && usual !== undefined)
      this.#say("cannot keep strangers' packets out of the overlay", {
        reason: "neither nftables nor iptables with ipset can be used on this host",
      });
    const filtering = KINDS.filter((kind) => survey[kind].tables.includes("filter"));
    return {
      usual,
      forwarding: this.#policy.flavour === "none" ? [] : filtering.map((kind) => `iptables-${kind}` as const),
      admission,
    };
  }

  #choose({ network }: Overlay, survey: FirewallSurvey): Flavour | undefined {
    const { flavour: choice, masquerade } = this.#policy;
    if (choice === "none") return undefined;
    const { family } = network.address;
    const chosen = this.#flavours.get(family) ?? chooseFlavour(choice, survey);
    if (chosen === undefined) {
      this.#say("cannot keep rules in this host's packet filters", {
        network: formatPrefix(network),
        reason: choice === "auto" ? "neither nft nor iptables can be used" : `--firewall=${choice} cannot be used`,
        needed_for: [
          ...(masquerade ? ["--ip-masq"] : []),
          ...(this.#policy.clampMss ? ["--clamp-mss"] : []),
          "forwarding",
          ...(this.#admits && this.#tablesOf(network).peers === undefined ? ["--underlay-admission"] : []),
        ].join(", "),
      });
      return undefined;
    }
    this.#flavours.set(family, chosen);
    if (masquerade) {
      const { flavour, reason } = chosen;
      this.#sayOnce(`masquerading ${formatPrefix(network)}`, () =>
        this.#logger.info("masquerading what leaves the overlay", {
          network: formatPrefix(network),
          by: flavour,
          reason,
        }),
      );
    }
    return chosen.flavour;
  }

  #tablesOf(network: Prefix): FamilyTables {
    const key = formatPrefix(network);
    const known = this.#tables.get(key);
    if (known !== undefined) return known;
    const onRefused = (packets: number) => this.#countRefused(network, packets);
    const tables: FamilyTables = {
      nft: this.#firewall.nftTable(network, onRefused),
      peers: this.#firewall.peers(network),
      xtables: {
        nft: this.#firewall.xtablesTable("nft", network, onRefused),
        legacy: this.#firewall.xtablesTable("legacy", network, onRefused),
      },
    };
    this.#tables.set(key, tables);
    return tables;
  }

  /** Said when there are twice as many as were said of last. */
  #countRefused(network: Prefix, packets: number): void {
    const name = formatPrefix(network);
    const said = this.#refused.get(name) ?? 0;
    if (packets === 0 || (packets >= said && packets < 2 * said)) return; // fewer: the table was made anew
    this.#refused.set(name, packets);
    this.#logger.warn("packets of the overlay that came from no peer were refused", { network: name, packets });
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

/** `promise`, unless the signal comes first. */
function orAbort(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) return onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
