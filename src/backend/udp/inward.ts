import { EAGAIN, EINTR } from "../../kernel/errno.ts";
import { ReceiveBatch } from "../../kernel/message-batch.ts";
import type { SocketPort, TunPort } from "../../kernel/packet-ports.ts";
import { ScatterList } from "../../kernel/scatter-list.ts";
import type { Checksum } from "../../wire/packet/checksum.ts";
import { IpPacket, PacketFault } from "../../wire/packet/ip-packet.ts";
import { Coalescer, type Merges } from "./coalesce.ts";
import { STRANGER } from "./forwarding.ts";
import type { Outcome } from "./outward.ts";
import type { PacketContext } from "./packet-context.ts";

const MESSAGES = 16;
/** The kernel merges up to what fits an IP packet. */
const MESSAGE_BYTES = 65_536;
const MOST_FAILURES = 1000;
/** Pieces of one packet for the TUN device: the virtio header, the first packet, the payload of further ones. */
const PIECES = 80;

/** Packets from the peers' hosts to this host's TUN device. */
export class Inward {
  #socket: SocketPort | undefined;
  #tun: TunPort | undefined;
  readonly #context: PacketContext;
  readonly #packet: IpPacket;
  readonly #batch: ReceiveBatch;
  readonly #pieces: ScatterList;
  readonly #coalescer: Coalescer;
  #failures = 0;
  /** What the kernel had dropped when it was last asked, and whether strangers' packets are among what it drops since. */
  #dropped = 0;
  #isLimited = false;
  /** Whether the queue has held more than one receiving brings. */
  #wasFull = false;

  /** @param isPlain whether each datagram is received by a call of its own */
  constructor(context: PacketContext, checksum: Checksum, { isPlain = false } = {}) {
    const { arena, base } = context;
    this.#context = context;
    this.#packet = new IpPacket(arena);
    this.#batch = new ReceiveBatch(arena, base, { messages: isPlain ? 1 : MESSAGES, bytes: MESSAGE_BYTES });
    this.#pieces = new ScatterList(arena, base, PIECES);
    this.#coalescer = new Coalescer(arena, checksum, this);
  }

  /**
   * @param hasHeader whether the device wants a virtio header before each packet
   * @param merges what it takes as one packet, however many segments it is
   */
  setTun(tun: TunPort | undefined, hasHeader: boolean, merges: Merges): void {
    this.#tun = tun;
    this.#coalescer.hasHeader = hasHeader;
    this.#coalescer.merges = merges;
  }

  get socket(): SocketPort | undefined {
    return this.#socket;
  }

  set socket(socket: SocketPort | undefined) {
    this.#socket = socket;
    this.#dropped = socket?.dropped() ?? 0;
  }

  /** Receives once and hands over what came. */
  run(): Outcome {
    const { socket } = this;
    if (socket === undefined) return "gone";
    if (this.#isLimited !== this.#context.guard.isUp) this.#countLosses(socket);
    const batch = this.#batch;
    const count = socket.receive(batch);
    if (count === -EAGAIN) return this.#drained(socket);
    if (count < 0) return this.#failed(-count);
    this.#failures = 0;
    for (let index = 0; index < count; index++) this.#message(index);
    this.#coalescer.flush();
    batch.clear(count);
    if (count < batch.capacity) return this.#drained(socket);
    this.#wasFull = true;
    return "more";
  }

  #drained(socket: SocketPort): Outcome {
    this.#context.guard.drained();
    if (this.#wasFull) this.#countLosses(socket);
    this.#wasFull = false;
    return "empty";
  }

  /** Packets that found the queue full. As long as the kernel drops strangers' too, nobody can say how many were which. */
  #countLosses(socket: SocketPort): void {
    const { counters, guard } = this.#context;
    const now = socket.dropped();
    const lost = (now - this.#dropped) >>> 0;
    if (!this.#isLimited && lost > 0) counters.dropped("queue full", lost);
    this.#dropped = now;
    this.#isLimited = guard.isUp;
  }

  /** An error about what we sent earlier may be told here, once; a socket that does nothing but fail must not be asked for ever. */
  #failed(errno: number): Outcome {
    if (errno !== EINTR) this.#failures++;
    return this.#failures > MOST_FAILURES ? "gone" : "more";
  }

  #message(index: number): void {
    const batch = this.#batch;
    const { forwarding, counters, guard } = this.#context;
    const length = batch.lengthOf(index);
    const segment = batch.segmentOf(index);
    const start = batch.bufferAt(index);
    const end = start + length;
    const source = batch.sourceOf(index);
    if (length === 0) return counters.dropped("bad packet", 1);
    const sender = forwarding.sender(source);
    if (sender === STRANGER) {
      const packets = Math.ceil(length / segment) * guard.weight;
      counters.dropped("stranger", packets);
      guard.saw();
      if (this.#packet.parse(start, Math.min(segment, length)) === PacketFault.none)
        this.#context.sample("stranger", source, this.#packet, packets);
      return;
    }
    for (let at = start; at < end; at += segment) {
      if (!this.#datagram(at, Math.min(segment, end - at), sender, source)) continue;
      // Whoever may send one packet may send its twins.
      const twins = this.#coalescer.addTwins(at + segment, end, segment);
      if (twins > 0) counters.received(sender, twins, twins * segment);
      at += twins * segment;
    }
  }

  /** @returns whether the packet was let in */
  #datagram(at: number, length: number, sender: number, source: number): boolean {
    const { forwarding, counters } = this.#context;
    const packet = this.#packet;
    if (packet.parse(at, length) !== PacketFault.none) {
      counters.dropped("bad packet", 1);
      return false;
    }
    const verdict = forwarding.judge(sender, packet);
    if (verdict !== 0) {
      counters.dropped(verdict, 1);
      this.#context.sample(verdict, source, packet);
      return false;
    }
    if (!packet.decrementTtl()) {
      counters.dropped("ttl exceeded", 1);
      this.#context.sample("ttl exceeded", source, packet);
      this.#context.refuse(packet, "ttl exceeded");
      return false;
    }
    counters.received(sender, 1, packet.length);
    this.#coalescer.add(packet);
    return true;
  }

  /** A piece of the packet that is handed over next. */
  piece(at: number, length: number): void {
    this.#pieces.piece(at, length);
  }

  /** The packet is complete. */
  end(): void {
    const pieces = this.#pieces;
    const result = this.#tun?.write(pieces) ?? -1;
    // A piece is a packet, but for the virtio header.
    const packets = pieces.count - (this.#coalescer.hasHeader ? 1 : 0);
    pieces.clear();
    if (result < 0) this.#context.counters.dropped("device refused", packets);
  }
}
