import { formatAddress } from "../ip/address.ts";
import { type Prefix, parsePrefix } from "../ip/prefix.ts";
import { processId } from "../kernel/process-id.ts";
import type { Abortable } from "../lib/abortable.ts";
import { InvalidConfigError } from "../lib/errors.ts";
import { chooseUnderlay, type LabName, machineNetworks, parseLabName } from "./address-plan.ts";
import { dismantle, reclaim } from "./dismantle.ts";
import { LabHost } from "./lab-host.ts";
import { embeddedStore, etcdStore, type LabStore, serverStore } from "./lab-store.ts";
import { launcher } from "./launcher.ts";
import type { LabLife } from "./namespace.ts";
import { type PingOptions, type PingResult, pingAll } from "./ping.ts";
import { claim, type LabRecord, labDirectory, type StoreKind, writeRecord } from "./record.ts";
import { requireForLab } from "./requirements.ts";
import { Switch } from "./switch.ts";

export interface LabOptions extends Abortable {
  /** A random one if left out. */
  readonly name?: string;
  readonly hosts: number;
  /** Its type, or the `Backend` object of the network's config; vxlan. */
  readonly backend?: string | { readonly Type: string; readonly [key: string]: unknown };
  /** embedded */
  readonly store?: StoreKind;
  /** 10.5.0.0/16 */
  readonly network?: string;
  /** Whether hosts and pods have IPv6 too, or pods that alone. */
  readonly ipv6?: "too" | "only" | undefined;
  /** More of the network's config, as SubnetLen; null: the store is left without one. */
  readonly config?: { readonly [key: string]: unknown } | null;
  /** Per host, 1; none without daemons, which tell the pods' addresses. */
  readonly pods?: number;
  /** Whether to start them; true. */
  readonly daemons?: boolean;
  /** Of the hosts' own network, 1500. */
  readonly mtu?: number;
  /** More flags for every daemon. */
  readonly flags?: readonly string[];
  /** Another program in flanneld's place. */
  readonly flanneld?: readonly string[];
  /** Whether the lab stays when this process ends or fails; false. */
  readonly detached?: boolean;
  /** Told what is being done. */
  readonly progress?: (step: string) => void;
}

/**
 * Many hosts on one machine, each a network namespace.
 *
 *     await using lab = await Lab.up({ hosts: 3, backend: "vxlan", signal });
 *     await lab.hosts[0].daemon.restart("SIGKILL");
 */
export class Lab implements AsyncDisposable {
  readonly name: LabName;
  readonly store: LabStore;
  readonly switch: Switch;
  readonly network: Prefix;
  readonly #options: LabOptions;
  readonly #created = new Date().toISOString();
  readonly #ending = new AbortController();
  readonly #life: LabLife;
  #hosts: readonly LabHost[] = [];
  #isDetached = false;
  #isDown = false;

  /** Dismantles what labs of dead processes left on this machine. @returns their names */
  static reclaim(options: Abortable): Promise<readonly LabName[]> {
    return reclaim(options);
  }

  /**
   * Brings a lab up; when it resolves, every daemon is ready and every pod is there. If it rejects, nothing is left.
   * Orphans of earlier labs are reclaimed first.
   * @throws {UnsupportedError} if something is missing here, {InvalidConfigError} for bad options or a name that is taken
   */
  static async up(options: LabOptions): Promise<Lab> {
    requireForLab(options.store ?? "embedded");
    const lab = new Lab(options);
    await reclaim(options);
    claim(lab.record);
    try {
      await lab.#bringUp();
    } catch (error) {
      await lab.down();
      throw options.signal.aborted ? options.signal.reason : error;
    }
    return lab;
  }

  private constructor(options: LabOptions) {
    this.#options = options;
    const ending = this.#ending.signal;
    const signal = AbortSignal.any([options.signal, ending]);
    this.#life = { signal, ending };
    this.name = parseLabName(options.name ?? randomName());
    this.network = parseNetwork(options.network ?? "10.5.0.0/16");
    if (!Number.isInteger(options.hosts) || options.hosts < 0)
      throw new InvalidConfigError("hosts", `not a number of hosts: ${options.hosts}`);
    const underlay = chooseUnderlay([this.network, ...machineNetworks()]);
    const { mtu = 1500, ipv6 } = options;
    this.switch = new Switch(this.name, { underlay, mtu, hasIPv6: ipv6 !== undefined }, this.#life);
    const kind = options.store ?? "embedded";
    const directory = labDirectory(this.name);
    this.store =
      kind === "embedded"
        ? embeddedStore(directory, { signal })
        : kind === "server"
          ? serverStore(directory, this.switch, { signal })
          : etcdStore(kind, directory, this.switch, { signal });
  }

  get hosts(): readonly LabHost[] {
    return this.#hosts;
  }

  /** Ends with the lab or with the signal it was given. */
  get signal(): AbortSignal {
    return this.#life.signal;
  }

  get backend(): { readonly Type: string; readonly [key: string]: unknown } {
    const { backend = "vxlan" } = this.#options;
    return typeof backend === "string" ? { Type: backend } : backend;
  }

  async #bringUp(): Promise<void> {
    const { hosts, store = "embedded", config, daemons = true, pods = 1, detached = false } = this.#options;
    this.#progress(
      `making ${hosts} hosts on ${formatAddress(this.switch.underlay.address)}/${this.switch.underlay.length}`,
    );
    await this.switch.build();
    const machines = await this.#makeHosts(hosts);
    this.#progress(store === "embedded" ? "preparing the store" : `starting ${this.store.title}`);
    await this.store.start();
    if (config !== null) await this.setConfig();
    if (daemons) {
      this.#progress(`starting flanneld on ${hosts} hosts, backend ${this.backend.Type}`);
      await allEnded(machines.map((host) => host.startDaemon()));
      if (pods > 0) this.#progress(`making ${hosts * pods} pods`);
      for (const host of machines) for (let pod = 0; pod < pods; pod++) await host.addPod();
    }
    this.#isDetached = detached;
    this.#save();
  }

  /** One more host, with daemon and pods as the others. Resolves when its daemon is ready. */
  async addHost(): Promise<LabHost> {
    const { daemons = true, pods = 1 } = this.#options;
    const [host] = await this.#makeHosts(1);
    if (host === undefined) throw new Error("no host was made");
    if (daemons) {
      await host.startDaemon();
      for (let pod = 0; pod < pods; pod++) await host.addPod();
    }
    return host;
  }

  async #makeHosts(count: number): Promise<readonly LabHost[]> {
    const first = this.#hosts.length + 1;
    const { flanneld = [launcher("flanneld")], flags = [] } = this.#options;
    const addresses = await this.switch.plugIn(first, first + count - 1);
    const made = addresses.map(
      (address, index) =>
        new LabHost({
          lab: this.name,
          name: `h${first + index}`,
          address: formatAddress(address),
          directory: labDirectory(this.name),
          daemon: [...flanneld, ...this.store.flags, ...flags],
          life: this.#life,
          onChange: () => this.#save(),
        }),
    );
    this.#hosts = [...this.#hosts, ...made];
    return made;
  }

  /** Writes the network's config to the store: the lab's options, and `changes` over them. */
  async setConfig(changes: { readonly [key: string]: unknown } = {}): Promise<void> {
    const { config, network = "10.5.0.0/16", ipv6 } = this.#options;
    const families = {
      ...(ipv6 === "only" ? { EnableIPv4: false } : { Network: network }),
      ...(ipv6 !== undefined && { EnableIPv6: true, IPv6Network: IPV6_NETWORK }),
    };
    await this.store.setConfig({ ...families, ...config, Backend: this.backend, ...changes });
  }

  /** Pings every pod from every other, by each family that both have. */
  ping(options: Partial<PingOptions> = {}): Promise<readonly PingResult[]> {
    const pods = this.#hosts.flatMap((host) => host.pods);
    return pingAll(pods, { signal: this.signal, ...options });
  }

  /** For other processes. */
  get record(): LabRecord {
    const owner = this.#isDetached ? undefined : processId(process.pid);
    return {
      name: this.name,
      ...(owner === undefined ? {} : { owner }),
      created: this.#created,
      network: this.#options.network ?? "10.5.0.0/16",
      backend: this.backend.Type,
      store: this.store.kind,
      hosts: this.#hosts.map((host) => host.record),
    };
  }

  #save(): void {
    if (!this.#isDown) writeRecord(this.record);
  }

  #progress(step: string): void {
    this.#options.progress?.(step);
  }

  /** Ends every process in the lab's namespaces and removes all of it. Not stopped by the lab's signal; may be called twice. */
  async down(): Promise<void> {
    if (this.#isDown) return;
    this.#isDown = true;
    this.#ending.abort(new DOMException(`lab ${this.name} is going down`, "AbortError"));
    await dismantle(this.name, { signal: new AbortController().signal });
    this.release();
  }

  /** Lets this process end while the lab goes on. */
  release(): void {
    for (const host of this.#hosts) host.daemon.release();
    this.store.server?.release();
  }

  /** Takes it down, unless it was to stay. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDetached) this.release();
    else await this.down();
  }
}

/** Of the pods of a lab that has IPv6. */
const IPV6_NETWORK = "fd00:5::/48";

/** As Promise.all, but rejects only when nothing is under way any more: what is still starting cannot be cleaned up. */
async function allEnded(promises: readonly Promise<unknown>[]): Promise<void> {
  const failure = (await Promise.allSettled(promises)).find((result) => result.status === "rejected");
  if (failure !== undefined) throw failure.reason;
}

function randomName(): string {
  return `t${Math.random().toString(36).slice(2, 8)}`;
}

function parseNetwork(text: string): Prefix {
  try {
    return parsePrefix(text);
  } catch (error) {
    throw new InvalidConfigError("network", error instanceof Error ? error.message : String(error), { cause: error });
  }
}
