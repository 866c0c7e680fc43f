import { type Address, formatAddress } from "../../ip/address.ts";
import type { Prefix } from "../../ip/prefix.ts";
import type { TunDevice, UdpSocket } from "../../kernel/kernel.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Logger } from "../../lib/logger.ts";
import { Mailbox } from "../../lib/mailbox.ts";
import type { Pulse } from "../../lib/pulse.ts";
import { CountersReader, createCounters, type Traffic, type Work } from "./counters.ts";
import { DropLog } from "./drop-log.ts";
import type { DropReason } from "./drop-reason.ts";
import { buildForwarding, type ForwardingData, type Peer } from "./forwarding.ts";
import type { PacketThread, PacketThreadOptions } from "./thread.ts";
import type { ThreadNews } from "./thread-messages.ts";

/** What descriptors are kept as from one daemon to the next. */
export const TUN_DESCRIPTOR = "udp-tun";
export const SOCKET_DESCRIPTOR = "udp-socket";

export interface PacketPathOptions {
  readonly port: number;
  readonly offload: boolean;
  readonly networks: readonly Prefix[];
  readonly ownSubnets: readonly Prefix[];
  /** Until others are set. */
  readonly ownAddresses: readonly Address[];
  readonly acceptFrom: readonly Prefix[];
  readonly logger: Logger;
  readonly closeDescriptor: (fd: number) => void;
  readonly startThread: (options: PacketThreadOptions) => PacketThread;
}

/** What the packet thread has counted since it was started. */
export interface PathTraffic {
  /** With all peers, those that have gone included. */
  readonly total: Traffic;
  /** With those there are now, by public address; since each came. */
  readonly peers: readonly { readonly publicIP: Address; readonly traffic: Traffic }[];
  readonly drops: Readonly<Record<DropReason, number>>;
  readonly work: Readonly<Record<Work, number>>;
}

/** The packet thread as the main thread sees it: what it works with, which peers it knows, what it has to say. */
export class PacketPath implements AsyncDisposable {
  readonly #options: PacketPathOptions;
  readonly #counters = createCounters();
  readonly #reader = new CountersReader(this.#counters);
  /** Undefined until it can know its peers. */
  #thread: PacketThread | undefined;
  readonly #descriptors = new Map<string, number>();
  readonly #changes = new Mailbox<"changed">();
  readonly #dropLog: DropLog;
  #peers: readonly Peer[] = [];
  #ownAddresses: readonly Address[];
  /** Whose the slots are. */
  #slots: ReadonlyMap<number, Address> = new Map();
  #tun: TunDevice | undefined;
  #socket: UdpSocket | undefined;

  constructor(options: PacketPathOptions) {
    this.#options = options;
    this.#dropLog = new DropLog(options.logger);
    this.#ownAddresses = options.ownAddresses;
  }

  setTun(device: TunDevice | undefined): void {
    if (this.#thread === undefined) this.#close(this.#tun);
    this.#tun = device;
    this.#keep(TUN_DESCRIPTOR, device?.fd);
    this.#thread?.setTun(device);
    this.#tellFeatures();
  }

  setSocket(socket: UdpSocket | undefined): void {
    if (this.#thread === undefined) this.#close(this.#socket);
    this.#socket = socket;
    this.#keep(SOCKET_DESCRIPTOR, socket?.fd);
    this.#thread?.setSocket(socket);
    this.#tellFeatures();
  }

  setPeers(peers: readonly Peer[]): void {
    this.#peers = peers;
    this.#dropLog.setPeers(peers);
    const slots = new Map(peers.map(({ slot, publicIP }) => [slot, publicIP]));
    for (const [slot, publicIP] of slots) if (this.#slots.get(slot)?.value !== publicIP.value) this.#reader.begin(slot);
    this.#slots = slots;
    this.#thread?.setForwarding(this.#forwarding());
  }

  /** This host's addresses, which nobody else may send from. Those that it has already cost nothing. */
  setOwnAddresses(addresses: readonly Address[]): void {
    const text = (all: readonly Address[]) => all.map(formatAddress).toSorted().join(" ");
    if (text(addresses) === text(this.#ownAddresses)) return;
    this.#ownAddresses = addresses;
    this.#thread?.setForwarding(this.#forwarding());
  }

  /**
   * The peers are known: until then packets wait in the kernel, since nobody could say where to send them and whom they may be from.
   * To be called once.
   */
  begin(): void {
    const { startThread, port, offload, logger, ownSubnets } = this.#options;
    const thread = startThread({
      port,
      isPlain: !offload,
      isVerbose: logger.debugs,
      addresses: ownSubnets.map(({ address }) => address),
      counters: this.#counters,
      forwarding: this.#forwarding(),
      onNews: (news) => this.#hear(news),
    });
    this.#thread = thread;
    thread.setSocket(this.#socket);
    thread.setTun(this.#tun);
  }

  #forwarding(): ForwardingData {
    return buildForwarding({ ...this.#options, ownAddresses: this.#ownAddresses, peers: this.#peers });
  }

  /** Of the thread. */
  pulse(): Pulse {
    return this.#thread?.pulse() ?? { steps: 0, isDue: false };
  }

  traffic(): PathTraffic {
    const counters = this.#reader;
    return {
      total: counters.total(),
      peers: Array.from(this.#slots, ([slot, publicIP]) => ({ publicIP, traffic: counters.peer(slot) })),
      drops: counters.drops(),
      work: counters.work(),
    };
  }

  /** What the next daemon should find open, as soon as it is something else than when last asked. Rejects if the thread has failed. */
  async descriptors({ signal }: Abortable): Promise<ReadonlyMap<string, number>> {
    await Promise.race([
      this.#changes.takeAll({ signal }),
      ...(this.#thread === undefined ? [] : [this.#thread.ended]),
    ]);
    signal.throwIfAborted();
    return this.#descriptors;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#thread !== undefined) return await this.#thread[Symbol.asyncDispose]();
    this.#close(this.#tun);
    this.#close(this.#socket);
  }

  #close(held: { readonly fd: number } | undefined): void {
    if (held !== undefined) this.#options.closeDescriptor(held.fd);
  }

  #keep(name: string, fd: number | undefined): void {
    if (fd === undefined) this.#descriptors.delete(name);
    else this.#descriptors.set(name, fd);
    this.#changes.put("changed");
  }

  #hear(news: ThreadNews): void {
    if (news.type === "dropped") return this.#dropLog.take(news.sample);
    this.#options.logger.warn("udp packet path works with less", { reason: news.reason });
  }

  /** Once both are there, and again when one was replaced. */
  #tellFeatures(): void {
    if (this.#tun === undefined || this.#socket === undefined) return;
    const { checksum, tcp, udp } = this.#tun.offloads;
    const { segments, merges } = this.#socket;
    const features = { checksum, tcp, udp, segments, merges };
    const used = Object.entries(FEATURES).filter(([key]) => features[key as keyof typeof features]);
    this.#options.logger.info("udp packet path", {
      device: this.#tun.name,
      port: this.#options.port,
      with: used.map(([, name]) => name).join(", ") || "one packet per call",
    });
  }
}

const FEATURES = {
  checksum: "checksum offload",
  tcp: "TCP segmentation offload",
  udp: "UDP segmentation offload",
  segments: "UDP GSO",
  merges: "UDP GRO",
} as const;
