import type { UnderlayAdmission } from "../backend/backend.ts";
import type { Overlay, OverlayPart } from "../backend/overlay.ts";
import type { Layer } from "../dataplane/table.ts";
import { addToAddress, type Family } from "../ip/address.ts";
import type { Prefix } from "../ip/prefix.ts";
import { processorTime } from "../kernel/processor-time.ts";
import { LeaseLostError } from "../lease/errors.ts";
import { halfOf, subnetsOf } from "../lease/halves.ts";
import type { Lease, LeaseUpdate } from "../lease/lease.ts";
import { peerSelector } from "../lease/peers.ts";
import type { EnvRange, SubnetEnv } from "../lease/subnet-env.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Milliseconds } from "../lib/clock.ts";
import { Scope } from "../lib/scope.ts";
import { untilItWorks } from "../lib/until-it-works.ts";
import type { Configured } from "./configured.ts";
import { type Inlet, watchObstacles } from "./firewall/watch-obstacles.ts";
import { FormerConfigs } from "./former-configs.ts";
import { twin } from "./lease-claim.ts";
import type { LifeParts } from "./life-parts.ts";
import { watchConfig, watchUnderlay } from "./overtaken.ts";
import { OwnLease } from "./own-lease.ts";
import { PeerReport } from "./peer-report.ts";
import { publish } from "./published.ts";
import { openSettings } from "./settings/open-settings.ts";
import { watchSettings } from "./settings/watch-settings.ts";
import { watchBridges } from "./stale-bridges.ts";
import { externalOf } from "./underlay-interface.ts";
import { watchOverlap } from "./watch-overlap.ts";

/** How often it is looked whether something that was kept may go. */
const LOOK_EVERY: Milliseconds = 60_000;

/** A network that is configured, leased and wanted in the kernel, as long as that is so. */
export class Session {
  readonly #parts: LifeParts;
  readonly #configured: Configured;
  readonly #overlay: Overlay;
  readonly #own: OwnLease;
  readonly #select: ReturnType<typeof peerSelector>;
  readonly #report: PeerReport;
  readonly #former: FormerConfigs;
  /** Of this host, to be kept as the network needs them. */
  #settings: readonly Layer[] = [];

  constructor(parts: LifeParts, configured: Configured, overlay: Overlay) {
    const { store, name, kernel, logger, clock, renewMargin } = parts.options;
    const { config, external } = configured;
    this.#parts = parts;
    this.#configured = configured;
    this.#overlay = overlay;
    this.#own = new OwnLease(overlay.lease, {
      store,
      network: name,
      renewMargin,
      clock,
      logger,
      twin: (options) => twin({ kernel, external, logger }, options),
    });
    this.#select = peerSelector(overlay.lease, config);
    this.#report = new PeerReport(logger);
    this.#former = new FormerConfigs(parts, configured, overlay);
  }

  /** Ours, as it is now. */
  get lease(): Lease {
    return this.#own.lease;
  }

  /** Ends only by the signal. @throws {LeaseLostError} {Overtaken} */
  async run({ signal }: Abortable): Promise<never> {
    const { store, name, kernel, clock, logger, underlay } = this.#parts.options;
    const { config, external, underlay: seen } = this.#configured;
    await this.#remember();
    const network = { external, config, links: this.#overlay.links };
    const settings = await openSettings(network, this.#parts.options.settings, { kernel, logger, signal });
    this.#settings = settings.layers;
    this.#program();
    if (this.#masquerades) this.#filter({ signal });
    await using scope = new Scope(signal);
    scope.spawn((signal) => watchUnderlay(underlay, seen, this.#families, { signal }));
    if (settings.layers.length === 0) scope.spawn((signal) => watchSettings({ ...settings, clock, logger, signal }));
    scope.spawn((signal) => watchConfig(config, { store, network: name, clock, logger, signal }));
    scope.spawn(async (signal) => {
      await this.#parts.dataplane.founded({ signal }); // before anyone is told of the subnet
      this.#begin(scope);
    });
    await scope.join();
    throw signal.reason;
  }

  #begin(scope: Scope): void {
    const { kernel, clock, logger } = this.#parts.options;
    const { config, external, heritage } = this.#configured;
    const overlay = this.#overlay;
    const begin = () =>
      overlay.run !== undefined && scope.spawn((signal) => overlay.run?.({ signal }) ?? Promise.resolve());
    const networks = [...this.#networks, ...heritage.networks];
    const underlay = external.link.name;
    scope.spawn((signal) => this.#publish({ signal }));
    scope.spawn((signal) => this.#own.keep({ signal }));
    scope.spawn((signal) => this.#followPeers(begin, { signal }));
    scope.spawn((signal) => this.#forgetInTime({ signal }));
    scope.spawn((signal) => this.#former.retire({ signal }));
    for (const subnet of subnetsOf(overlay.lease)) {
      const ofFamily = networks.filter(({ address }) => address.family === subnet.address.family);
      scope.spawn((signal) => watchBridges({ kernel, subnet, networks: ofFamily, clock, logger, signal }));
    }
    scope.spawn((signal) => watchOverlap({ kernel, config, underlay, clock, logger, signal }));
    this.#watchObstacles(scope);
  }

  /** One of each family. */
  get #networks(): readonly Prefix[] {
    return this.#overlay.parts.map(({ range }) => range.network);
  }

  get #families(): readonly Family[] {
    return this.#networks.map(({ address }) => address.family);
  }

  /** Of what is made from now on, the next start must know that it is ours, whenever we are killed. */
  #remember(): Promise<void> {
    const { lease, links, macs, claim } = this.#overlay;
    const { config, heritage } = this.#configured;
    const { 4: mac, 6: macV6 } = macs;
    return this.#parts.memory.remember({
      network: config.network,
      subnet: lease.subnet,
      ...(lease.ipv6Subnet !== undefined && { ipv6Subnet: lease.ipv6Subnet }),
      publicIP: lease.attributes.publicIP,
      links: [...new Set([...links, ...heritage.links])],
      networks: [...this.#networks, ...heritage.networks],
      claims: [...(claim === undefined ? [] : [claim]), ...this.#former.claims],
      ...(mac !== undefined && { mac }),
      ...(macV6 !== undefined && { macV6 }),
    });
  }

  async #publish({ signal }: Abortable): Promise<void> {
    const { firewall, status, options } = this.#parts;
    const { subnetFile, clock, logger, onReady } = options;
    const { lease, mtu } = this.#overlay;
    const { config } = this.#configured;
    const { subnet, ipv6Subnet } = lease;
    const env: SubnetEnv = {
      ...envRange(config.network, subnet),
      ipv6: config.ipv6 && ipv6Subnet && envRange(config.ipv6.network, ipv6Subnet),
      mtu,
      ipMasq: this.#masquerades,
    };
    await untilItWorks(() => publish(subnetFile, env), "subnet file cannot be written", {
      clock,
      logger,
      signal,
      onFailure: status.waitsFor(`${subnetFile} to be written`),
    });
    if (this.#masquerades) await firewall?.settled({ signal });
    logger.info("ready", { subnet, ...(ipv6Subnet !== undefined && { ipv6Subnet }), mtu, file: subnetFile });
    this.#isUp();
    onReady();
    if (!this.#masquerades) this.#filter({ signal }); // pods can be started meanwhile
  }

  #isUp(): void {
    const { status, known, dataplane } = this.#parts;
    status.is(() => ({
      phase: "up",
      subnets: subnetsOf(this.#overlay.lease),
      backend: this.#configured.config.backend.type,
      peers: this.#select(known.all).peers.length,
      problems: dataplane.problems.map(({ table, row, error: { message } }) =>
        message.includes(row) ? message : `${table} ${row}: ${message}`,
      ),
    }));
  }

  get #masquerades(): boolean {
    return this.#parts.options.filters?.policy.masquerade ?? false;
  }

  #filter(options: Abortable): void {
    const overlays = this.#overlay.parts.map(({ range: { network }, backend: { lease } }) => ({
      network,
      subnet: lease.subnet,
    }));
    this.#parts.firewall?.want(overlays, options);
  }

  #watchObstacles(scope: Scope): void {
    const { filters, kernel, clock, logger } = this.#parts.options;
    if (filters === undefined || filters.policy.flavour === "none") return;
    const { firewall } = filters;
    const { external } = this.#configured;
    for (const part of this.#overlay.parts) {
      const { network } = part.range;
      const { lease, links } = part.backend;
      const link = links[0] ?? external.link.name;
      const inlet = this.#inlet(part);
      const where = { network, subnet: lease.subnet, link, inlet };
      scope.spawn((signal) => watchObstacles({ firewall, kernel, ...where, clock, processorTime, logger, signal }));
    }
  }

  /** Where peers' packets come in, if they come by UDP. */
  #inlet({ range, backend: { port } }: OverlayPart): Inlet | undefined {
    if (port === undefined) return undefined;
    const { family } = range.network.address;
    const { address, link } = externalOf(this.#configured.underlay, family);
    const peers = () =>
      this.#select(this.#parts.known.all).peers.flatMap((peer) => halfOf(peer, family)?.attributes.publicIP ?? []);
    return { port, address, link: link.name, peers };
  }

  /** @param onInPlace is called once, when all peers there were are in place */
  async #followPeers(onInPlace: () => void, { signal }: Abortable): Promise<void> {
    const { known, dataplane, firewall, status, options } = this.#parts;
    const since = known.cursor;
    let areInPlace = since !== undefined;
    let isAdmitting = false;
    if (areInPlace) onInPlace();
    for await (const update of options.store.watchLeases(options.name, {
      signal,
      ...(since !== undefined && { since }),
    })) {
      const change = known.apply(update);
      this.#followOwn(update);
      this.#program();
      await dataplane.attempted({ signal }); // the kernel first, then the log; and what comes meanwhile is one batch
      if (!areInPlace) onInPlace();
      areInPlace = true;
      if (known.isComplete && !isAdmitting) firewall?.peersKnown(this.#admission, { signal });
      isAdmitting ||= known.isComplete;
      this.#report.changed(change, this.#own.lease);
      status.again();
    }
  }

  /** @throws {LeaseLostError} if the store does not have our lease any more, or has it as another's */
  #followOwn(update: LeaseUpdate): void {
    const { subnet, revision } = this.#own.lease;
    if (update.type === "events" && update.cursor.index < revision) return; // from before we took it
    const stored = this.#parts.known.stored(subnet);
    if (stored === undefined) throw new LeaseLostError(subnet, "the store does not have it any more");
    this.#own.follow(stored);
  }

  /** Declares what the peers need. */
  #program(): void {
    const { known, firewall, dataplane } = this.#parts;
    dataplane.want(() => {
      const { peers, rejected } = this.#select(known.all);
      const { layers, unreachable } = this.#overlay.desired(peers);
      this.#report.ignored(rejected, unreachable);
      const admitted = this.#networks.flatMap((network) => firewall?.peers(network, this.#admission, peers) ?? []);
      return { layers: [...admitted, ...layers, ...this.#settings], spareUnknown: !known.isComplete };
    });
  }

  /** The same for all families. */
  get #admission(): UnderlayAdmission | undefined {
    return this.#overlay.parts[0]?.backend.admission;
  }

  /** Lets go what was kept only because the store's history was reset. */
  async #forgetInTime({ signal }: Abortable): Promise<never> {
    const { known, options } = this.#parts;
    const { clock, logger } = options;
    for (let wasComplete = known.isComplete; ; wasComplete = known.isComplete) {
      await clock.sleep(Math.min(known.nextEnd - clock.now(), LOOK_EVERY), { signal });
      known.rememberCursor();
      const ended = known.dropEnded();
      if (ended.length > 0) logger.info("leases that the store forgot have ended", { count: ended.length });
      if (ended.length > 0 || wasComplete !== known.isComplete) this.#program();
    }
  }
}

function envRange(network: Prefix, subnet: Prefix): EnvRange {
  return { network, subnet: { address: addToAddress(subnet.address, 1n), length: subnet.length } };
}
