import { type Overlay, prepareOverlay } from "../../src/backend/overlay.ts";
import { backendType } from "../../src/backend/types.ts";
import { memoryNotes } from "../../src/cloud/fake-cloud.ts";
import { openCloud } from "../../src/cloud/open-cloud.ts";
import { sharedCloud } from "../../src/cloud/shared-cloud.ts";
import { Dataplane } from "../../src/dataplane/dataplane.ts";
import { parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { FakeDescriptorKeeper } from "../../src/kernel/fake-descriptor-keeper.ts";
import { FakeKernel } from "../../src/kernel/fake-kernel.ts";
import type { Lease } from "../../src/lease/lease.ts";
import { type NetworkConfig, parseNetworkConfig, rangesOf } from "../../src/lease/network-config.ts";
import { type Clock, systemClock } from "../../src/lib/clock.ts";
import { describeError } from "../../src/lib/errors.ts";
import type { Notes } from "../../src/lib/notes.ts";
import { RecordingLogger } from "../../src/lib/recording-logger.ts";

export interface CloudHostOptions {
  /** The `Backend` object of the network's config. */
  readonly backend: { readonly Type: string; readonly [key: string]: unknown };
  /** By IPv4, or by IPv6 in a network that has no other family. */
  readonly address: string;
  readonly subnet: string;
  /** 10.5.0.0/16 or fd00:5::/48 */
  readonly network?: string;
  /** What it has of IPv6 besides. */
  readonly ipv6?: HostIPv6;
  /** Of an earlier run. */
  readonly notes?: Notes;
  readonly env?: NodeJS.ProcessEnv;
}

export interface HostIPv6 {
  readonly address: string;
  readonly subnet: string;
  /** fd00:5::/48 */
  readonly network?: string;
}

export function lease(subnet: string, publicIP: string, ipv6?: HostIPv6): Lease {
  return {
    subnet: parsePrefix(subnet),
    ...(ipv6 !== undefined && { ipv6Subnet: parsePrefix(ipv6.subnet) }),
    attributes: {
      publicIP: parseAddress(publicIP),
      ...(ipv6 !== undefined && { publicIPv6: parseAddress(ipv6.address) }),
    },
    isReservation: false,
    revision: 1n,
  };
}

function configOf({ backend, address, network, ipv6 }: CloudHostOptions): NetworkConfig {
  const isIPv6Only = address.includes(":");
  const families = isIPv6Only
    ? { EnableIPv4: false, EnableIPv6: true, IPv6Network: network ?? "fd00:5::/48" }
    : {
        Network: network ?? "10.5.0.0/16",
        ...(ipv6 !== undefined && { EnableIPv6: true, IPv6Network: ipv6.network ?? "fd00:5::/48" }),
      };
  return parseNetworkConfig(JSON.stringify({ ...families, Backend: backend }));
}

/** Between two looks at an operation there is a tenth of the time. */
const HASTY: Clock = {
  ...systemClock,
  sleep: (span, options) => systemClock.sleep(span / 10, options),
};

/** A daemon's overlay and reconcile loop on one host of a cloud, without a store. */
export class TestedHost implements AsyncDisposable {
  readonly logger: RecordingLogger;
  readonly dataplane: Dataplane;
  readonly notes: Notes;
  readonly overlay: Overlay;
  readonly #controller: AbortController;
  readonly #running: Promise<unknown>;
  #peers: readonly Lease[] = [];

  /** Resolves when the overlay is open and its routes are wanted. */
  static async start(options: CloudHostOptions): Promise<TestedHost> {
    const logger = new RecordingLogger();
    const controller = new AbortController();
    const notes = options.notes ?? memoryNotes();
    const kernel = new FakeKernel();
    kernel.setLink({ name: "eth0", mtu: 9001 });
    const [link] = await kernel.listLinks(controller);
    if (link === undefined) throw new Error("no link");
    const config = configOf(options);
    const type = backendType(config.backend.type);
    const addresses = [options.address, ...(options.ipv6 === undefined ? [] : [options.ipv6.address])].map(
      parseAddress,
    );
    const prepared = await prepareOverlay(
      type,
      {
        options: type.parseOptions(config.backend.options),
        config,
        externals: addresses.map((address) => ({ link, address, publicIP: address })),
        leaseFormat: "0.7",
        kernel,
        keeper: new FakeDescriptorKeeper(),
        routes: { networks: rangesOf(config).map(({ network }) => network), adoptable: () => false },
        logger,
        rememberedMacs: {},
        notes,
        cloud: sharedCloud(openCloud({ clock: HASTY, env: options.env ?? process.env })),
      },
      controller,
    );
    const own = lease(options.subnet, options.address, options.ipv6);
    return new TestedHost(prepared.open(own), { logger, notes, controller });
  }

  private constructor(
    overlay: Overlay,
    parts: { readonly logger: RecordingLogger; readonly notes: Notes; readonly controller: AbortController },
  ) {
    this.overlay = overlay;
    this.logger = parts.logger;
    this.notes = parts.notes;
    this.#controller = parts.controller;
    this.dataplane = new Dataplane({ clock: systemClock, logger: this.logger });
    this.#running = this.dataplane.run(this.#controller).catch((error: unknown) => error);
    this.setPeers([]);
  }

  /** As when the store has told of all there are. */
  setPeers(peers: readonly Lease[]): void {
    this.#peers = peers;
    this.dataplane.want(() => ({ layers: this.overlay.desired(this.#peers).layers, spareUnknown: false }));
  }

  /** Waits until everything is as it should be. */
  async settled(within = 20_000): Promise<void> {
    const signal = AbortSignal.any([this.#controller.signal, AbortSignal.timeout(within)]);
    try {
      await this.dataplane.settled({ signal });
    } catch (error) {
      throw new Error(`not settled: ${JSON.stringify(this.problems)}`, { cause: error });
    }
  }

  /** Waits until everything has been tried once. */
  async attempted(): Promise<void> {
    await this.dataplane.attempted(this.#controller);
  }

  /** As when the time for it has come. */
  async resync(): Promise<void> {
    this.dataplane.resync();
    await this.attempted();
  }

  get problems(): readonly string[] {
    return this.dataplane.problems.map(({ row, error }) => `${row}: ${describeError(error)}`);
  }

  /** Everything that was logged, as text: for what must not be in it. */
  get log(): string {
    return this.logger.lines
      .map(({ level, message, fields }) => {
        const texts = Object.entries(fields).map(
          ([key, value]) => `${key}=${value instanceof Error ? describeError(value) : String(value)}`,
        );
        return [level, message, ...texts].join(" ");
      })
      .join("\n");
  }

  async stop(): Promise<void> {
    this.#controller.abort(new DOMException("SIGTERM", "AbortError"));
    await this.#running;
    await this.overlay[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
