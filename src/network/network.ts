import { mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { Backend, ExternalInterface, PreparedBackend } from "../backend/backend.ts";
import { backendType } from "../backend/types.ts";
import type { Cloud } from "../cloud/cloud.ts";
import { Dataplane } from "../dataplane/dataplane.ts";
import { addToAddress } from "../ip/address.ts";
import { equalPrefix, type Prefix } from "../ip/prefix.ts";
import type { DescriptorKeeper } from "../kernel/descriptor-keeper.ts";
import type { Kernel } from "../kernel/kernel.ts";
import { LeaseLostError, OutOfSubnetsError } from "../lease/errors.ts";
import type { Lease, LeaseUpdate, NetworkName } from "../lease/lease.ts";
import type { NetworkConfig } from "../lease/network-config.ts";
import { peerSelector } from "../lease/peers.ts";
import { formatSubnetEnv, parseSubnetEnv, type SubnetEnv } from "../lease/subnet-env.ts";
import type { SubnetManager } from "../lease/subnet-manager.ts";
import type { Abortable } from "../lib/abortable.ts";
import { writeFileAtomically } from "../lib/atomic-file.ts";
import { type BackoffRange, backoff } from "../lib/backoff.ts";
import type { Clock, Milliseconds } from "../lib/clock.ts";
import { InvalidConfigError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import { Scope } from "../lib/scope.ts";
import { untilItWorks } from "../lib/until-it-works.ts";
import type { Liveness } from "../operate/liveness.ts";
import { checkForwarding } from "./firewall/forwarding-check.ts";
import { NetworkFirewall, type NetworkFirewallOptions } from "./firewall/network-firewall.ts";
import { watchObstacles } from "./firewall/watch-obstacles.ts";
import { type Heritage, heritage } from "./heritage.ts";
import { HostMemory } from "./host-memory.ts";
import { overlapWithHost } from "./host-overlap.ts";
import type { HostStateFile } from "./host-state.ts";
import { KnownLeases } from "./known-leases.ts";
import { claimLease, twin } from "./lease-claim.ts";
import type { NetworkClaims } from "./network-claims.ts";
import { type NetworkStatus, STARTING } from "./network-status.ts";
import { Overtaken, type UnderlaySource, watchConfig, watchUnderlay } from "./overtaken.ts";
import { OwnLease } from "./own-lease.ts";
import { moveLease, rememberedLease } from "./own-lease-moving.ts";
import { PeerReport } from "./peer-report.ts";
import { retire } from "./retire.ts";
import { watchBridges } from "./stale-bridges.ts";
import { limitMtu, parseUnderlayMtu } from "./underlay-mtu.ts";

/** How often it is looked whether something that was kept may go. */
const LOOK_EVERY: Milliseconds = 60_000;
/** Container runtimes start when the subnet is published, and set up the host then. */
const RUNTIME_STARTS: Milliseconds = 60_000;
const RETIREMENT_RETRY: BackoffRange = { first: 1_000, most: 60_000 };

export interface NetworkOptions {
  readonly name: NetworkName;
  readonly store: SubnetManager;
  readonly kernel: Kernel;
  readonly keeper: DescriptorKeeper;
  /** What the host's other networks have taken, if there are any. */
  readonly claims?: NetworkClaims;
  readonly cloud: Cloud;
  readonly underlay: UnderlaySource;
  /** The host's packet filters, and what is wanted of them; none: nobody looks after them. */
  readonly filters?: Pick<NetworkFirewallOptions, "firewall" | "policy"> | undefined;
  /** Where `FLANNEL_*` is published. */
  readonly subnetFile: string;
  readonly state: HostStateFile;
  readonly renewMargin: Milliseconds;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called each time the subnet is held, its device stands and the file is written. */
  readonly onReady: () => void;
  /** Told whenever the network is another way than before; what it is given says how, also later. */
  readonly onStatus?: (status: () => NetworkStatus) => void;
  /** Has an eye on what must never be stuck. */
  readonly liveness?: Liveness;
}

/** One network's life on this host: config, lease, device, file, peers; again after the lease was lost. Ends only by the signal. */
export async function runNetwork(options: NetworkOptions, { signal }: Abortable): Promise<void> {
  const memory = await HostMemory.open(options.state);
  await using scope = new Scope(signal);
  const { clock, logger, filters } = options;
  const dataplane = new Dataplane({ clock, logger });
  const firewall = filters && new NetworkFirewall({ ...filters, clock, logger });
  using _watched = options.liveness?.watch(named("the reconcile loop", options.name), () => dataplane.pulse);
  scope.spawn((signal) => dataplane.run({ signal }));
  if (firewall !== undefined) scope.spawn((signal) => firewall.run({ signal }));
  scope.spawn((signal) => new NetworkLife(options, dataplane, firewall, memory).run({ signal }));
  await scope.join();
}

function named(loop: string, network: NetworkName): string {
  return network === "" ? loop : `${loop} of network ${JSON.stringify(network)}`;
}

/** A network that is configured, leased and wanted in the kernel. */
interface Session {
  readonly config: NetworkConfig;
  readonly external: ExternalInterface;
  readonly backend: Backend;
  readonly heritage: Heritage;
  readonly own: OwnLease;
  readonly select: ReturnType<typeof peerSelector>;
  readonly report: PeerReport;
}

type Configured = Pick<Session, "config" | "external" | "heritage"> & { readonly prepared: PreparedBackend };

class NetworkLife {
  readonly #options: NetworkOptions;
  readonly #dataplane: Dataplane;
  readonly #firewall: NetworkFirewall | undefined;
  readonly #memory: HostMemory;
  readonly #known: KnownLeases;
  #lost: Prefix | undefined;
  #status: () => NetworkStatus = () => STARTING;
  /** Held when it was overtaken, and still ours. */
  #held: Lease | undefined;

  constructor(
    options: NetworkOptions,
    dataplane: Dataplane,
    firewall: NetworkFirewall | undefined,
    memory: HostMemory,
  ) {
    this.#options = options;
    this.#dataplane = dataplane;
    this.#firewall = firewall;
    this.#memory = memory;
    this.#known = new KnownLeases(memory, options.clock, options.logger);
  }

  async run(options: Abortable): Promise<never> {
    try {
      for (;;) await this.#liveUntilLost(options);
    } finally {
      this.#known.rememberCursor();
      await this.#memory.flush();
    }
  }

  #is(status: () => NetworkStatus): void {
    this.#status = status;
    this.#options.onStatus?.(status);
  }

  /** @returns what says that it is waited for, with the reason once there is one */
  #waitsFor(what: string): (reason?: string) => void {
    const say = (reason?: string) => this.#is(() => ({ phase: "waiting", what, reason }));
    say();
    return say;
  }

  #isUp({ backend, config, select }: Session): void {
    this.#is(() => ({
      phase: "up",
      subnet: backend.lease.subnet,
      backend: config.backend.type,
      peers: select(this.#known.all).peers.length,
      problems: this.#dataplane.problems.map(({ table, row, error: { message } }) =>
        message.includes(row) ? message : `${table} ${row}: ${message}`,
      ),
    }));
  }

  async #liveUntilLost(options: Abortable): Promise<void> {
    try {
      await this.#live(options);
    } catch (error) {
      if (error instanceof Overtaken) {
        this.#options.logger.info("beginning again with what is now true", { reason: error.message });
        return;
      }
      if (!(error instanceof LeaseLostError)) throw error;
      this.#options.logger.warn("lease was lost; taking it again", { reason: error.message });
      this.#lost = error.subnet;
      this.#held = undefined;
    }
  }

  /** From a config to a lost lease, or to when it is overtaken. */
  async #live({ signal }: Abortable): Promise<never> {
    const { store, name, kernel, logger, clock, renewMargin, underlay } = this.#options;
    const configured = await this.#configured({ signal });
    const { config, external, prepared, heritage } = configured;
    const lease = await this.#leased(configured, { signal });
    await using backend = prepared.open(lease);
    await using _alive = { [Symbol.asyncDispose]: () => this.#letGo(backend, { signal }) };
    const session: Session = {
      config,
      external,
      backend,
      heritage,
      own: new OwnLease(lease, {
        store,
        network: name,
        renewMargin,
        clock,
        logger,
        twin: (options) => twin({ kernel, external, logger }, options),
      }),
      select: peerSelector(lease, config),
      report: new PeerReport(logger),
    };
    await this.#remember(session);
    this.#program(session);
    if (this.#masquerades) this.#filter(session, { signal });
    using _watched = this.#watchThread(backend);
    await using scope = new Scope(signal);
    scope.spawn((signal) => watchUnderlay(underlay, external, { signal }));
    scope.spawn((signal) => watchConfig(config, { store, network: name, clock, logger, signal }));
    scope.spawn(async (signal) => {
      await this.#dataplane.founded({ signal }); // before anyone is told of the subnet
      this.#begin(session, scope);
    });
    try {
      await scope.join();
    } finally {
      this.#held = session.own.lease;
    }
    throw signal.reason;
  }

  #begin(session: Session, scope: Scope): void {
    const { backend } = session;
    scope.spawn((signal) => this.#publish(session, { signal }));
    scope.spawn((signal) => session.own.keep({ signal }));
    const begin = () =>
      backend.run !== undefined && scope.spawn((signal) => backend.run?.({ signal }) ?? Promise.resolve());
    scope.spawn((signal) => this.#followPeers(session, { signal }, begin));
    scope.spawn((signal) => this.#forgetInTime(session, { signal }));
    scope.spawn((signal) => this.#retireFormer(session, { signal }));
    this.#watchObstacles(session, scope);
    const { kernel, clock, logger } = this.#options;
    const { config, heritage } = session;
    const networks = [config.network, ...heritage.networks];
    scope.spawn((signal) => watchBridges({ kernel, subnet: backend.lease.subnet, networks, clock, logger, signal }));
  }

  #watchThread(backend: Backend): Disposable | undefined {
    const { liveness, name } = this.#options;
    if (liveness === undefined || backend.pulse === undefined) return undefined;
    return liveness.watch(named("the packet thread", name), () => backend.pulse?.() ?? { steps: 0, isDue: false });
  }

  /** What lives in this process goes with the backend: nobody may make it anew before the next one does. */
  async #letGo(backend: Backend, { signal }: Abortable): Promise<void> {
    if (backend.run === undefined || signal.aborted) return;
    this.#dataplane.want(() => ({ layers: [], spareUnknown: true }));
    await this.#dataplane.attempted({ signal }).catch(() => {}); // asked to stop meanwhile
  }

  /** Waits for a config that this host can serve: what is wrong is said once, and a better one is found within a second. */
  #configured({ signal }: Abortable): Promise<Configured> {
    const { store, name, kernel, keeper, cloud, underlay, clock, logger } = this.#options;
    return untilItWorks(
      async () => {
        const config = await store.networkConfig(name, { signal });
        const external = underlay.current;
        const mtu = parseUnderlayMtu(config.backend);
        const type = backendType(config.backend.type);
        this.#options.claims?.claim(name, config);
        const [published, links, addresses] = await Promise.all([
          this.#readPublished(),
          kernel.listLinks({ signal }),
          kernel.listAddresses({ signal }),
        ]);
        const inherited = heritage(config, this.#memory.state, published, links, addresses);
        const overlap = overlapWithHost(config, links, addresses);
        // Where flannel works already, the host is not to be cut off by an upgrade.
        if (overlap !== undefined && inherited.previous.length === 0) throw new InvalidConfigError("Network", overlap);
        const prepared = await type.prepare(
          {
            options: type.parseOptions(config.backend.options),
            config,
            external: limitMtu(external, mtu),
            leaseFormat: store.leaseFormat,
            kernel,
            keeper,
            routes: inherited.routes,
            logger,
            rememberedMac: this.#memory.state.mac,
            notes: this.#memory.notes,
            cloud,
          },
          { signal },
        );
        if (overlap !== undefined)
          logger.warn("pods or neighbours of this host may be out of reach", { reason: overlap });
        if (mtu !== undefined && mtu > external.link.mtu)
          logger.warn("Backend.MTU is more than the interface takes", { mtu, interface: external.link.mtu });
        for (const warning of config.warnings) logger.warn("network config", { warning });
        return { config, external, prepared, heritage: inherited };
      },
      "no usable network config yet; waiting for one",
      { clock, logger, signal, onFailure: this.#waitsFor("a usable network config") },
    );
  }

  async #leased(
    { config, external, prepared, heritage: inherited }: Configured,
    { signal }: Abortable,
  ): Promise<Lease> {
    const { store, name, kernel, underlay, clock, logger } = this.#options;
    const previous = this.#lost === undefined ? inherited.previous : [this.#lost, ...inherited.previous];
    const attributes = (existing: Lease | undefined) => prepared.attributes(existing);
    const parts = { kernel, external, known: inherited.known, logger };
    const claim = (existing: Lease, options: Abortable) => claimLease(existing, parts, options);
    const lease = await untilItWorks(
      async () => {
        if (underlay.current !== external) {
          prepared.abandon?.();
          throw new Overtaken("the interface to the other hosts has changed");
        }
        const held =
          this.#held ?? (await rememberedLease(this.#memory.state, external, config, kernel, { signal, logger }));
        const moving = { store, network: name, config, held, attributes: attributes(held) };
        const { publicIP } = external;
        return (
          (await moveLease(moving, { signal })) ??
          (await store.acquireLease(name, { publicIP, config, attributes, claim, previous }, { signal }))
        );
      },
      "no lease yet",
      {
        clock,
        logger,
        signal,
        onFailure: this.#waitsFor("a subnet"),
        isFinal: (error) => error instanceof Overtaken,
        delay: (error) => (error instanceof OutOfSubnetsError ? 500 + 300 * Math.random() : 1_000),
      },
    );
    logger.info("subnet leased", {
      subnet: lease.subnet,
      reservation: lease.isReservation,
      expiration: lease.expiration,
    });
    const before = this.#lost ?? inherited.held;
    if (before !== undefined && !equalPrefix(before, lease.subnet))
      logger.warn("subnet changed: containers started before must be restarted", { before, now: lease.subnet });
    return lease;
  }

  /** Of what is made from now on, the next start must know that it is ours, whenever we are killed. */
  #remember({ config, backend, heritage: { links, networks } }: Session): Promise<void> {
    return this.#memory.remember({
      network: config.network,
      subnet: backend.lease.subnet,
      publicIP: backend.lease.attributes.publicIP,
      links: [...new Set([...backend.links, ...links])],
      networks: [config.network, ...networks],
      ...(backend.mac !== undefined && { mac: backend.mac }),
    });
  }

  async #publish(session: Session, { signal }: Abortable): Promise<void> {
    const { config, backend } = session;
    const { subnetFile, clock, logger, onReady } = this.#options;
    const { subnet } = backend.lease;
    const env: SubnetEnv = {
      network: config.network,
      subnet: { address: addToAddress(subnet.address, 1n), length: subnet.length },
      mtu: backend.mtu,
      ipMasq: this.#masquerades,
    };
    await untilItWorks(
      async () => {
        await mkdir(dirname(subnetFile), { recursive: true, mode: 0o755 });
        await writeFileAtomically(subnetFile, formatSubnetEnv(env), { mode: 0o644 });
      },
      "subnet file cannot be written",
      { clock, logger, signal, onFailure: this.#waitsFor(`${subnetFile} to be written`) },
    );
    if (this.#masquerades) await this.#firewall?.settled({ signal });
    logger.info("ready", { subnet, mtu: backend.mtu, file: subnetFile });
    this.#isUp(session);
    onReady();
    if (!this.#masquerades) this.#filter(session, { signal }); // pods can be started meanwhile
  }

  #watchObstacles({ config, backend, external }: Session, scope: Scope): void {
    const { filters, kernel, clock, logger } = this.#options;
    if (filters === undefined || filters.policy.flavour === "none") return;
    const { firewall } = filters;
    const { network } = config;
    const { subnet } = backend.lease;
    const link = backend.links[0] ?? external.link.name;
    scope.spawn(async (signal) => {
      await clock.sleep(RUNTIME_STARTS, { signal });
      await checkForwarding(kernel, network.address.family, { logger, signal });
    });
    scope.spawn((signal) => watchObstacles({ firewall, kernel, network, subnet, link, clock, logger, signal }));
  }

  get #masquerades(): boolean {
    return this.#options.filters?.policy.masquerade ?? false;
  }

  #filter({ config, backend }: Session, options: Abortable): void {
    this.#firewall?.want(config.network, backend.lease.subnet, options);
  }

  /** @param onInPlace is called once, when all peers there were are in place */
  async #followPeers(session: Session, { signal }: Abortable, onInPlace: () => void): Promise<void> {
    const { store, name } = this.#options;
    const since = this.#known.cursor;
    let areInPlace = since !== undefined;
    let isAdmitting = false;
    if (areInPlace) onInPlace();
    for await (const update of store.watchLeases(name, { signal, ...(since !== undefined && { since }) })) {
      const change = this.#known.apply(update);
      this.#followOwn(session, update);
      this.#program(session);
      await this.#dataplane.attempted({ signal }); // the kernel first, then the log; and what comes meanwhile is one batch
      if (!areInPlace) onInPlace();
      areInPlace = true;
      if (this.#known.isComplete && !isAdmitting) this.#firewall?.peersKnown(session.backend.admission, { signal });
      isAdmitting ||= this.#known.isComplete;
      session.report.changed(change, session.own.lease);
      this.#options.onStatus?.(this.#status);
    }
  }

  /** @throws {LeaseLostError} if the store does not have our lease any more, or has it as another's */
  #followOwn({ own }: Session, update: LeaseUpdate): void {
    const { subnet, revision } = own.lease;
    if (update.type === "events" && update.cursor.index < revision) return; // from before we took it
    const stored = this.#known.stored(subnet);
    if (stored === undefined) throw new LeaseLostError(subnet, "the store does not have it any more");
    own.follow(stored);
  }

  /** Declares what the peers need. */
  #program({ config, backend, select, report }: Session): void {
    this.#dataplane.want(() => {
      const { peers, rejected } = select(this.#known.all);
      const { layers, unreachable } = backend.desired(peers);
      report.ignored(rejected, unreachable);
      const admitted = this.#firewall?.peers(config.network, backend.admission, peers);
      return { layers: admitted === undefined ? layers : [admitted, ...layers], spareUnknown: !this.#known.isComplete };
    });
  }

  /** Lets go what was kept only because the store's history was reset. */
  async #forgetInTime(session: Session, { signal }: Abortable): Promise<never> {
    const { clock, logger } = this.#options;
    for (let wasComplete = this.#known.isComplete; ; wasComplete = this.#known.isComplete) {
      await clock.sleep(Math.min(this.#known.nextEnd - clock.now(), LOOK_EVERY), { signal });
      this.#known.rememberCursor();
      const ended = this.#known.dropEnded();
      if (ended.length > 0) logger.info("leases that the store forgot have ended", { count: ended.length });
      if (ended.length > 0 || wasComplete !== this.#known.isComplete) this.#program(session);
    }
  }

  /** Removes what earlier configs of this network left, once the present one is in place and all peers are known. */
  async #retireFormer(session: Session, { signal }: Abortable): Promise<void> {
    const { config, backend, heritage } = session;
    const { kernel, clock, logger } = this.#options;
    const links = heritage.links.filter((link) => !backend.links.includes(link));
    for (let attempts = 1; ; attempts++) {
      if (this.#known.isComplete) {
        await this.#dataplane.attempted({ signal });
        const { networks } = heritage;
        const rules = await this.#firewall?.leftovers([config.network, ...networks], networks, { signal });
        if (await retire(kernel, { links, networks, rules }, { logger, signal })) break;
      }
      await clock.sleep(backoff(attempts, RETIREMENT_RETRY), { signal });
    }
    await this.#memory.remember({ links: backend.links, networks: [config.network] });
  }

  async #readPublished(): Promise<SubnetEnv | undefined> {
    try {
      return parseSubnetEnv(await readFile(this.#options.subnetFile, "utf8"));
    } catch {
      return undefined; // none yet, or nothing that could be relied on: it is about to be written anew
    }
  }
}
