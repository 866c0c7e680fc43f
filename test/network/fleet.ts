import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { FakeCloud } from "../../src/cloud/fake-cloud.ts";
import { parseAddress } from "../../src/ip/address.ts";
import { parseMacAddress } from "../../src/ip/mac-address.ts";
import { formatPrefix, parsePrefix } from "../../src/ip/prefix.ts";
import { FakeDescriptorKeeper } from "../../src/kernel/fake-descriptor-keeper.ts";
import { FakeKernel } from "../../src/kernel/fake-kernel.ts";
import type { Abortable } from "../../src/lib/abortable.ts";
import { FakeClock } from "../../src/lib/fake-clock.ts";
import { RecordingLogger } from "../../src/lib/recording-logger.ts";
import { Scope } from "../../src/lib/scope.ts";
import { HostStateFile } from "../../src/network/host-state.ts";
import { DEFAULT_ROUTE_ONLY } from "../../src/network/interface-rules.ts";
import { runNetwork } from "../../src/network/network.ts";
import type { NetworkOptions } from "../../src/network/network-options.ts";
import { describeNetwork, type NetworkStatus, STARTING } from "../../src/network/network-status.ts";
import { runNetworks } from "../../src/network/networks.ts";
import { Underlay } from "../../src/network/underlay.ts";
import { Handover } from "../../src/operate/handover.ts";
import { Liveness } from "../../src/operate/liveness.ts";
import { MemoryRegistry } from "../../src/store/memory/memory-registry.ts";
import { MemoryStore } from "../../src/store/memory/memory-store.ts";
import { RegistrySubnetManager } from "../../src/store/registry-subnet-manager.ts";

/** Ample for a slow machine: what does not happen by then does not happen. */
const PATIENCE = 20_000;

export const VXLAN = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}';
export const vxlanWith = (options: object) =>
  JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type: "vxlan", ...options } });
export const HOST_GW = '{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}';

/** Hosts on fake kernels with one store in memory and one clock; only their files are real. */
/** Hosts take the first free subnets, and so none of those that a test gives to others. */
const IN_ORDER = () => 0.5;

export class Fleet implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly store = new MemoryStore({ clock: this.clock });
  readonly #cleanup = new AsyncDisposableStack();

  constructor(config: string | undefined = VXLAN) {
    if (config !== undefined && config !== "") this.store.setConfig("", config);
  }

  /** A host that is not running yet. Its number is in its address. */
  async host(number: number): Promise<Host> {
    const folder = await mkdtemp(join(tmpdir(), "flannel-network-"));
    this.#cleanup.defer(() => rm(folder, { recursive: true, force: true }));
    return this.#cleanup.use(new Host(this, number, folder));
  }

  /** A host that has its lease. */
  async running(number: number): Promise<Host> {
    const host = await this.host(number);
    host.start();
    await this.until(() => host.ready > 0, `host ${number} is ready`);
    return host;
  }

  /** Another host's lease, of which nothing but the lease exists. */
  writeLease(number: number, { subnet = number, type = "vxlan", mac = number } = {}): void {
    const data = type === "vxlan" ? { BackendData: { VtepMAC: macOf(mac) } } : {};
    const value = { PublicIP: `192.0.2.${number}`, BackendType: type, ...data };
    this.store.put("", `10.5.${subnet}.0-24`, JSON.stringify(value), 24 * 60 * 60 * 1000);
  }

  /** Lets things happen, and time pass if they take some, until it is so. @throws saying `what` if that is never */
  async until(condition: () => boolean | Promise<boolean>, what: string, { step = 0 } = {}): Promise<void> {
    const end = performance.now() + PATIENCE;
    while (!(await condition())) {
      if (performance.now() > end) throw new Error(`waited in vain until ${what}`);
      await this.clock.advance(step);
      await filesAreDone(1);
    }
  }

  /** Lets time pass, and files be written meanwhile. */
  async passes(span: number): Promise<void> {
    for (let part = 0; part < 10; part++) {
      await this.clock.advance(span / 10);
      await filesAreDone(2);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}

/** Lets files be read and written, at least so many ms, and as long as it takes: else the clock would run ahead of a slow disk. */
async function filesAreDone(least: number): Promise<void> {
  do await new Promise((resolve) => setTimeout(resolve, least));
  while (process.getActiveResourcesInfo().some((kind) => kind.startsWith("FSReq") || kind.startsWith("FileHandle")));
}

export function macOf(number: number) {
  return parseMacAddress(`66:72:44:0d:7e:${String(number).padStart(2, "0")}`);
}

type SharedParts = Pick<
  NetworkOptions,
  "kernel" | "cloud" | "renewMargin" | "clock" | "logger" | "liveness" | "underlay"
> & { readonly store: RegistrySubnetManager };

export class Host implements AsyncDisposable {
  readonly kernel = new FakeKernel();
  readonly keeper = new FakeDescriptorKeeper();
  readonly logger = new RecordingLogger();
  readonly cloud = new FakeCloud();
  readonly registry: MemoryRegistry;
  readonly address: string;
  readonly subnetFile: string;
  readonly stateDir: string;
  /** `--public-ip`, to be set before it starts. */
  natAddress: string | undefined;
  /** How often it has said that it is ready, since it was last started. */
  ready = 0;
  /** What is stuck is seen here. */
  readonly liveness = new Liveness();
  #status = () => STARTING;
  readonly #fleet: Fleet;
  #controller = new AbortController();
  #running: Promise<unknown> | undefined;

  constructor(fleet: Fleet, number: number, folder: string) {
    this.#fleet = fleet;
    this.address = `192.0.2.${number}`;
    this.subnetFile = join(folder, "run", "subnet.env");
    this.stateDir = join(folder, "state");
    this.registry = new MemoryRegistry(fleet.store, { logger: this.logger });
    this.kernel.setLink({ name: "eth0" });
    this.kernel.setAddress("eth0", parsePrefix(`${this.address}/24`));
  }

  /** @param beforeReady is called before each READY */
  start(beforeReady: () => void = () => {}): void {
    const own = {
      name: "",
      keeper: this.keeper,
      subnetFile: this.subnetFile,
      state: new HostStateFile(this.stateDir, this.subnetFile, this.logger),
      onStatus: (status: () => NetworkStatus) => {
        this.#status = status;
      },
      onReady: () => {
        beforeReady();
        this.ready++;
      },
    };
    this.#start((shared, options) => runNetwork({ ...shared, ...own }, options));
  }

  /** Joins every network of the store that has a name. Each publishes its subnet beside {@link subnetFile}. */
  startNetworks(): void {
    const own = {
      names: [],
      subnetDir: dirname(this.subnetFile),
      stateDir: this.stateDir,
      openKeeper: () => new Handover([this.keeper]),
    };
    this.#start((shared, options) => runNetworks({ ...shared, ...own, directory: shared.store }, options));
  }

  #start(run: (shared: SharedParts, options: Abortable) => Promise<void>): void {
    const { clock } = this.#fleet;
    const { kernel, cloud, logger, liveness } = this;
    const store = new RegistrySubnetManager(this.registry, { clock, logger, random: IN_ORDER });
    const parts = { store, kernel, cloud, renewMargin: 60 * 60 * 1000, clock, logger, liveness };
    this.#controller = new AbortController();
    this.ready = 0;
    this.#running = this.#run((underlay, options) => run({ ...parts, underlay }, options)).catch(
      (error: unknown) => error,
    );
  }

  async #run(run: (underlay: Underlay, options: Abortable) => Promise<void>): Promise<void> {
    await using scope = new Scope(this.#controller.signal);
    const { clock } = this.#fleet;
    const publicIP = this.natAddress === undefined ? undefined : parseAddress(this.natAddress);
    const rules = { ...DEFAULT_ROUTE_ONLY, ifaces: ["eth0"], publicIP };
    const underlay = await Underlay.open(this.kernel, rules, { clock, logger: this.logger, signal: scope.signal });
    scope.spawn((signal) => underlay.run({ signal }));
    scope.spawn((signal) => run(underlay, { signal }));
    await scope.join();
  }

  /** @returns what it ended with */
  async stop(reason: unknown = new Error("stopped")): Promise<unknown> {
    this.#controller.abort(reason);
    return await this.#running;
  }

  /** What a service manager would be told. */
  get status(): string {
    return describeNetwork(this.#status());
  }

  /** What was done in the kernel since this was asked last, but for sysctls. */
  done(): readonly string[] {
    return this.kernel.log.splice(0).filter((line) => !line.includes(" sysctl "));
  }

  /** Warnings and errors since this was asked last, each with its reason. */
  complaints(): readonly string[] {
    const lines = this.logger.lines.filter(({ level }) => level === "warn" || level === "error");
    const texts = lines.map(({ message, fields }) =>
      typeof fields["reason"] === "string" ? `${message}: ${fields["reason"]}` : message,
    );
    this.logger.clear();
    return texts;
  }

  /** Rows of one kind in the kernel, as a person would write them. */
  rows(kind: "link" | "address" | "neighbor" | "fdb" | "route"): readonly string[] {
    return this.kernel
      .show()
      .filter((line) => line.startsWith(`${kind} `))
      .map((line) => line.slice(kind.length + 1));
  }

  /** Whether the kernel leads to this host. */
  leadsTo(number: number): boolean {
    return [...this.rows("route"), ...this.rows("fdb")].some((row) =>
      new RegExp(`(via|dst) 192\\.0\\.2\\.${number} `).test(row),
    );
  }

  /** The subnet that containers get addresses of, `10.5.1.0/24`. */
  async published(): Promise<string> {
    const text = await readFile(this.subnetFile, "utf8");
    const subnet = /^FLANNEL_SUBNET=(.*)\.1\/24$/m.exec(text)?.[1] ?? "";
    return formatPrefix(parsePrefix(`${subnet}.0/24`));
  }

  /** The key of its lease in the store. */
  key(): string | undefined {
    const entries = [...this.#fleet.store.entries("")];
    return entries.find(([, { value }]) => value.includes(`"${this.address}"`))?.[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** The subnet of a lease's key. */
export const subnetOf = (key: string | undefined) => key?.replace("-", "/");
