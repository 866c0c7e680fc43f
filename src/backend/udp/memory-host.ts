// For tests only: the packet path of one host, between devices in memory.
import { parseAddress } from "../../ip/address.ts";
import { parsePrefix } from "../../ip/prefix.ts";
import { MemoryRaw, MemorySocket, MemoryTun } from "../../kernel/memory-packet-ports.ts";
import { Arena } from "../../lib/arena.ts";
import { Checksum } from "../../wire/packet/checksum.ts";
import type { IpPacket } from "../../wire/packet/ip-packet.ts";
import type { Merges } from "./coalesce.ts";
import { CountersReader, CountersWriter, createCounters } from "./counters.ts";
import { FloodGuard } from "./flood-guard.ts";
import { buildForwarding, Forwarding, type ForwardingTable } from "./forwarding.ts";
import { type IcmpErrorReason, IcmpErrors } from "./icmp-error.ts";
import { Inward } from "./inward.ts";
import { type Outcome, Outward } from "./outward.ts";
import type { PacketContext } from "./packet-context.ts";

export const ALL_MERGES: Merges = { tcp4: true, tcp6: true, udp4: true, udp6: true };
const NO_MERGES: Merges = { tcp4: false, tcp6: false, udp4: false, udp6: false };

/** The lower half of this address passes 2^32 within the first MiB after it, where the batches are. */
export const BASE = 0x7f5a_fff8_0000;

export interface MemoryHostOptions {
  /** Of the arena. */
  readonly base?: number;
  /** Whether TUN and socket offer all offloads; else none. */
  readonly offload?: boolean;
  readonly table?: Partial<ForwardingTable>;
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

/** Host 15 of 10.5.0.0/16 and fd00:5::/112: 192.0.2.15 with 10.5.15.0/24 and fd00:5::1500/120; the others by the same rule. */
export class MemoryHost {
  readonly tun: MemoryTun;
  readonly socket: MemorySocket;
  readonly raw: MemoryRaw;
  readonly outward: Outward;
  readonly inward: Inward;
  readonly counters: CountersReader;
  readonly address: number;
  /** What was said of features that do not work. */
  readonly degraded: string[] = [];
  readonly sampled: string[] = [];
  readonly #context: PacketContext;
  readonly guard: FloodGuard;
  /** Milliseconds. */
  now = 0;
  /** Other hosts are the peers from now on. */
  readonly setPeers: (numbers: readonly number[]) => void;

  /** @param peers numbers of the other hosts */
  constructor(number: number, peers: readonly number[], options: MemoryHostOptions = {}) {
    const { base = BASE, offload = true, table } = options;
    const arena = new Arena(4 << 20);
    const checksum = new Checksum(arena);
    const counters = createCounters(64);
    const errors = new IcmpErrors(arena, checksum, [parseAddress(`10.5.${number}.0`)]);
    this.address = hostAddress(number);
    this.tun = new MemoryTun(arena, base);
    this.socket = new MemorySocket(arena, base);
    this.raw = new MemoryRaw(arena);
    this.counters = new CountersReader(counters);
    const build = (numbers: readonly number[]) =>
      buildForwarding({
        networks: ["10.5.0.0/16", "fd00:5::/112"].map(parsePrefix),
        ownSubnets: subnets(number),
        ownAddresses: [parseAddress(`192.0.2.${number}`)],
        peers: numbers.flatMap((peer, slot) =>
          subnets(peer).map((subnet) => ({ subnet, publicIP: parseAddress(`192.0.2.${peer}`), slot })),
        ),
        acceptFrom: [],
        ...table,
      });
    this.guard = new FloodGuard({
      sources: () => context.forwarding.sources(),
      now: () => this.now,
      degraded: (reason) => this.degraded.push(reason),
    });
    const context: Mutable<PacketContext> = {
      arena,
      base,
      counters: new CountersWriter(counters),
      forwarding: new Forwarding(build(peers), arena),
      guard: this.guard,
      refuse: (packet: IpPacket, reason: IcmpErrorReason) => {
        const length = errors.build(packet, reason, 0);
        if (length > 0) this.raw.send(errors.at, length);
      },
      sample: (reason) => this.sampled.push(reason),
      degraded: (reason) => this.degraded.push(reason),
    };
    this.#context = context;
    this.setPeers = (numbers) => {
      context.forwarding = new Forwarding(build(numbers), arena);
      this.guard.sourcesChanged();
    };
    this.outward = new Outward(context, checksum, { port: 8285 });
    this.outward.sender.socket = this.socket;
    this.outward.sender.segments = offload;
    this.outward.setTun(this.tun, offload);
    this.inward = new Inward(context, checksum);
    this.inward.socket = this.socket;
    this.guard.setSocket(this.socket);
    this.inward.setTun(this.tun, offload, offload ? ALL_MERGES : NO_MERGES);
    for (let slot = 0; slot < peers.length; slot++) this.counters.begin(slot);
  }

  /** Has the outward path read these packets and send them, if it can. */
  send(...packets: readonly Uint8Array[]): Outcome {
    this.tun.toRead.push(...packets);
    return this.sendMore();
  }

  /** Goes on until there is nothing more, or no way. */
  sendMore(): Outcome {
    for (;;) {
      const outcome = this.outward.run();
      if (outcome !== "more") return outcome;
    }
  }

  /** Has the inward path receive these, each alone. */
  receive(host: number, ...datagrams: readonly Uint8Array[]): Outcome {
    this.socket.toReceive.push(...datagrams.map((bytes) => ({ host, bytes, segment: 0 })));
    return this.receiveMore();
  }

  receiveMore(): Outcome {
    for (;;) {
      const outcome = this.inward.run();
      if (outcome !== "more") return outcome;
    }
  }

  /** As the packet thread knows them: who is no stranger. */
  get sources(): Uint32Array {
    return this.#context.forwarding.sources();
  }

  /** What was dropped, by reason; reasons that did not occur are left out. */
  get drops(): Readonly<Record<string, number>> {
    return Object.fromEntries(Object.entries(this.counters.drops()).filter(([, count]) => count > 0));
  }
}

function subnets(number: number) {
  return [`10.5.${number}.0/24`, `fd00:5::${number}00/120`].map(parsePrefix);
}

/** As a number. */
export function hostAddress(number: number): number {
  return Number(parseAddress(`192.0.2.${number}`).value);
}

/** Carries what hosts have sent to one another, merged as UDP_GRO does: equal datagrams in a row of one sender. */
export function carry(hosts: readonly MemoryHost[], { merged = true } = {}): void {
  for (const from of hosts)
    for (const { host, bytes } of from.socket.sent.splice(0)) {
      const to = hosts.find(({ address }) => address === host);
      if (to === undefined) continue;
      const { toReceive } = to.socket;
      const last = toReceive.at(-1);
      if (
        merged &&
        last?.host === from.address &&
        last.bytes.length % last.segment === 0 &&
        bytes.length <= last.segment &&
        last.bytes.length + bytes.length <= 65_535 &&
        last.bytes.length / last.segment < 64
      )
        toReceive[toReceive.length - 1] = { ...last, bytes: new Uint8Array(Buffer.concat([last.bytes, bytes])) };
      else toReceive.push({ host: from.address, bytes, segment: bytes.length });
    }
}
