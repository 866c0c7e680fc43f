import { type Prefix, parsePrefix } from "../../ip/prefix.ts";
import { EAGAIN } from "../../kernel/errno.ts";
import type { ReceiveBatch, SendBatch } from "../../kernel/message-batch.ts";
import type { SocketPort, TunPort } from "../../kernel/packet-ports.ts";
import type { ScatterList } from "../../kernel/scatter-list.ts";
import type { Arena } from "../../lib/arena.ts";
import { type Checksum, finish, fold } from "../../wire/packet/checksum.ts";
import { ICMP, IPV4_CHECKSUM, IPV4_HEADER_SIZE, IPV4_TOTAL_LENGTH, TCP, UDP } from "../../wire/packet/ip-packet.ts";
import {
  TCP_ACK,
  TCP_CHECKSUM,
  TCP_DATA_OFFSET,
  TCP_FLAGS,
  TCP_HEADER_SIZE,
  UDP_CHECKSUM,
  UDP_HEADER_SIZE,
  UDP_LENGTH,
} from "../../wire/packet/transport.ts";
import {
  VIRTIO_GSO_TCP4,
  VIRTIO_HEADER_SIZE,
  VIRTIO_NEEDS_CHECKSUM,
  VirtioHeader,
} from "../../wire/packet/virtio-header.ts";
import { CountersReader, CountersWriter, createCounters } from "./counters.ts";
import { FloodGuard } from "./flood-guard.ts";
import { buildForwarding, Forwarding } from "./forwarding.ts";
import { Inward } from "./inward.ts";
import { Outward } from "./outward.ts";
import type { PacketContext } from "./packet-context.ts";

/** Rounds after which the code is compiled as far as it soon will be; some 10 ms in all. */
const ROUNDS = 400;
/** Rounds before it is looked whether a real packet has come: a tenth of a millisecond, but for the first ones. */
const STEP = 4;

/** Two hosts that are nowhere: packets go from the first one's subnet to the second one's (RFC 5737, RFC 2544). */
const SOURCE = { subnet: "198.18.0.0/16", address: 0xc612_0001, host: 0xcb00_7101 };
const DESTINATION = { subnet: "198.19.0.0/16", address: 0xc613_0001, host: 0xcb00_7102 };

const TTL = 64;
const PAYLOAD = 64;
/** Of the large packet, and how many there are. */
const SEGMENT = 1000;
const SEGMENTS = 4;

export interface RehearsalOptions {
  readonly arena: Arena;
  /** The arena's address. */
  readonly base: number;
  readonly checksum: Checksum;
  /** Devices that refuse everything: the ways to them are rehearsed too. */
  readonly tun: TunPort;
  readonly socket: SocketPort;
  readonly isPlain: boolean;
}

/**
 * Carries made-up packets out and in again, by the code that carries the real ones, through a path of its own. What the first packets of
 * a process cost is mostly code that has never run: the first takes a millisecond, the next ones 70 µs each, and some hundred later
 * 5 µs. A daemon that is killed loses what it has in hand, so the sooner the shorter.
 */
export class Rehearsal {
  readonly #outward: Outward;
  readonly #inward: Inward;
  /** What the device has to give, one after the other, and what the socket was given and has to give back. */
  readonly #packets: readonly { readonly at: number; readonly length: number }[];
  readonly #back: number;
  readonly #options: RehearsalOptions;
  #next = 0;
  #round = 0;
  #wasRead = true;
  #length = 0;
  #segment = 0;
  /** How many packets have gone the whole way. */
  arrived = 0;
  readonly #counters = createCounters(2);

  constructor(options: RehearsalOptions) {
    const { arena, base, checksum, isPlain } = options;
    this.#options = options;
    const peers = [SOURCE, DESTINATION].map(({ subnet, host }, slot) => ({
      subnet: parsePrefix(subnet),
      publicIP: { family: 4, value: BigInt(host) } as const,
      slot,
    }));
    const networks: readonly Prefix[] = [parsePrefix("198.18.0.0/15")];
    const table = { networks, ownSubnets: [], ownAddresses: [], peers, acceptFrom: [] };
    const forwarding = new Forwarding(buildForwarding(table), arena);
    const nothing = () => {};
    const guard = new FloodGuard({ sources: () => forwarding.sources(), now: () => 0, degraded: nothing });
    const context: PacketContext = {
      arena,
      base,
      counters: new CountersWriter(this.#counters),
      forwarding,
      guard,
      refuse: nothing,
      sample: nothing,
      degraded: nothing,
    };
    this.#outward = new Outward(context, checksum, { port: 9, isPlain });
    this.#inward = new Inward(context, checksum, { isPlain: true }); // one message at a time: less memory
    const tun: TunPort = { read: (at, length) => this.#read(at, length), write: (pieces) => this.#write(pieces) };
    const socket: SocketPort = {
      receive: (batch) => this.#receive(batch),
      send: (batch, from) => this.#send(batch, from),
      dropped: () => 0,
      limitSources: () => 0,
    };
    this.#outward.sender.socket = socket;
    this.#outward.sender.segments = !isPlain;
    this.#inward.socket = socket;
    this.#outward.setTun(tun, !isPlain);
    this.#inward.setTun(tun, !isPlain, { tcp4: !isPlain, tcp6: !isPlain, udp4: !isPlain, udp6: !isPlain });
    this.#back = arena.reserve(2 * SEGMENTS * SEGMENT);
    const small = [ICMP, UDP, TCP].map((protocol) => this.#make(protocol, PAYLOAD, 0));
    this.#packets = isPlain ? small : [...small, this.#make(TCP, SEGMENTS * SEGMENT, SEGMENT)];
  }

  /** Some rounds. @returns whether it is worth going on */
  step(): boolean {
    for (let round = 0; round < STEP; round++) {
      this.#wasRead = false;
      this.#outward.run();
      this.#inward.run();
      this.#next = (this.#next + 1) % this.#packets.length;
      this.#round++;
    }
    return this.#round < ROUNDS;
  }

  /** How many were refused, for whatever reason. */
  get drops(): number {
    return Object.values(new CountersReader(this.#counters).drops()).reduce((sum, count) => sum + count);
  }

  #read(at: number, length: number): number {
    this.#options.tun.read(at, length);
    const packet = this.#packets[this.#next];
    if (this.#wasRead || packet === undefined) return -EAGAIN;
    this.#wasRead = true;
    this.#options.arena.bytes.copyWithin(at, packet.at, packet.at + packet.length);
    return packet.length;
  }

  #send(batch: SendBatch, from: number): number {
    this.#options.socket.send(batch, from);
    const { pieces } = batch;
    const first = batch.firstPieceOf(from);
    const end = first + batch.pieceCountOf(from);
    let length = 0;
    for (let piece = first; piece < end; piece++) {
      const at = pieces.startOf(piece);
      this.#options.arena.bytes.copyWithin(this.#back + length, at, at + pieces.lengthOf(piece));
      length += pieces.lengthOf(piece);
    }
    this.#length = length;
    this.#segment = batch.segmentOf(from);
    return batch.count - from;
  }

  #receive(batch: ReceiveBatch): number {
    this.#options.socket.receive(batch);
    if (this.#length === 0) return -EAGAIN;
    this.#options.arena.bytes.copyWithin(batch.bufferAt(0), this.#back, this.#back + this.#length);
    batch.fill(0, SOURCE.host, this.#length, this.#segment);
    this.#length = 0;
    return 1;
  }

  #write(pieces: ScatterList): number {
    this.#options.tun.write(pieces);
    this.arrived++;
    return 1;
  }

  /** A packet as the device gives it. @param segment bytes of payload of what it stands for; 0 if it is one packet */
  #make(protocol: number, payload: number, segment: number): { readonly at: number; readonly length: number } {
    const { arena, checksum, isPlain } = this.#options;
    const headerSize = isPlain ? 0 : VIRTIO_HEADER_SIZE;
    const transport = protocol === TCP ? TCP_HEADER_SIZE : protocol === UDP ? UDP_HEADER_SIZE : 0;
    const length = IPV4_HEADER_SIZE + transport + payload;
    const ip = arena.reserve(length + 16) + 16;
    const { view } = arena;
    view.setUint16(ip, 0x4500);
    view.setUint16(ip + IPV4_TOTAL_LENGTH, length);
    view.setUint16(ip + 8, (TTL << 8) | protocol);
    view.setUint32(ip + 12, SOURCE.address);
    view.setUint32(ip + 16, DESTINATION.address);
    view.setUint16(ip + IPV4_CHECKSUM, finish(checksum.sum(ip, IPV4_HEADER_SIZE)));
    const at = ip + IPV4_HEADER_SIZE;
    if (protocol === TCP) {
      view.setUint8(at + TCP_DATA_OFFSET, (TCP_HEADER_SIZE / 4) << 4);
      view.setUint8(at + TCP_FLAGS, TCP_ACK);
    } else if (protocol === UDP) view.setUint16(at + UDP_LENGTH, UDP_HEADER_SIZE + payload);
    if (headerSize === 0) return { at: ip, length };
    const header = new VirtioHeader();
    if (transport > 0) {
      // The kernel leaves the checksum to us, of which it has the pseudo header's part.
      const field = protocol === TCP ? TCP_CHECKSUM : UDP_CHECKSUM;
      view.setUint16(at + field, fold(checksum.pseudoHeader(ip + 12, 8, protocol, transport + payload)));
      header.flags = VIRTIO_NEEDS_CHECKSUM;
      header.checksumStart = IPV4_HEADER_SIZE;
      header.checksumOffset = field;
    }
    if (segment > 0) {
      header.gsoType = VIRTIO_GSO_TCP4;
      header.gsoSize = segment;
    }
    header.write(view, ip - headerSize);
    return { at: ip - headerSize, length: headerSize + length };
  }
}
