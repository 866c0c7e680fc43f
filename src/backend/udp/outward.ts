import { EAGAIN, EBADFD, EINTR } from "../../kernel/errno.ts";
import { SendBatch } from "../../kernel/message-batch.ts";
import type { TunPort } from "../../kernel/packet-ports.ts";
import type { Arena } from "../../lib/arena.ts";
import type { Checksum } from "../../wire/packet/checksum.ts";
import { IpPacket, PacketFault } from "../../wire/packet/ip-packet.ts";
import { VIRTIO_HEADER_SIZE, VirtioHeader } from "../../wire/packet/virtio-header.ts";
import { NO_ROUTE } from "./forwarding.ts";
import type { PacketContext } from "./packet-context.ts";
import { MAX_SEGMENTS, Segmenter } from "./segment.ts";
import { Sender } from "./sender.ts";

/** The most that one read can bring. */
const PACKET_ROOM = VIRTIO_HEADER_SIZE + 65_535;
/** Bytes read before they are sent: a few superpackets fill their messages better than one, and are still in the processor's cache. */
const BATCH_BYTES = 192 << 10;
/** Messages and pieces after which a batch is sent; there is room for one more packet, whatever it is cut into. */
const BATCH_MESSAGES = 32;
const BATCH_PIECES = 512;
/** Reads before the other direction has its turn. */
const READS = 64;
/** Longest packet that is sent at once where packets come one by one: larger ones are part of a stream, and more will follow. */
const LONE_BYTES = 2048;
const MOST_FAILURES = 1000;

/** The most datagrams and bytes that the kernel cuts one message into: UDP_MAX_SEGMENTS, and what fits an IPv4 packet. */
const MESSAGE_SEGMENTS = 64;
const MESSAGE_BYTES = 65_507;

function messageRoom(segment: number): number {
  return Math.max(1, Math.min(MESSAGE_SEGMENTS, Math.floor(MESSAGE_BYTES / segment)));
}

/** Why one direction stopped. */
export type Outcome = "empty" | "more" | "blocked" | "gone";

/** Packets from the host's TUN device to the peers' hosts. */
export class Outward {
  readonly sender: Sender;
  readonly #context: PacketContext;
  readonly #arena: Arena;
  readonly #packet: IpPacket;
  readonly #header = new VirtioHeader();
  readonly #segmenter: Segmenter;
  readonly #batch: SendBatch;
  readonly #region: number;
  readonly #batchMessages: number;
  #used = 0;
  #tun: TunPort | undefined;
  #headerSize = 0;
  #failures = 0;
  /** Whether the last time there was not more than one packet. */
  #isLone = false;
  // The last message, as long as more may join it: equal datagrams to one peer go out as one message.
  #openPeer = -1;
  #openSegment = 0;
  #openCount = 0;
  #openFirst = 0;

  /** @param isPlain whether each packet is read and sent by calls of its own */
  constructor(
    context: PacketContext,
    checksum: Checksum,
    { port, isPlain = false }: { readonly port: number; readonly isPlain?: boolean },
  ) {
    const { arena, base } = context;
    this.#context = context;
    this.#arena = arena;
    this.#batchMessages = isPlain ? 1 : BATCH_MESSAGES;
    this.#packet = new IpPacket(arena);
    this.#segmenter = new Segmenter(arena, checksum);
    this.#batch = new SendBatch(arena, base, {
      messages: BATCH_MESSAGES + MAX_SEGMENTS,
      pieces: BATCH_PIECES + 2 * MAX_SEGMENTS,
      port,
    });
    this.sender = new Sender(context, this.#batch, port);
    this.#region = arena.reserve(BATCH_BYTES + PACKET_ROOM + 64);
  }

  /** @param hasHeader whether the device precedes packets by a virtio header */
  setTun(tun: TunPort | undefined, hasHeader: boolean): void {
    this.#tun = tun;
    this.#headerSize = hasHeader ? VIRTIO_HEADER_SIZE : 0;
    this.#header.clear();
    this.#failures = 0;
  }

  get hasTun(): boolean {
    return this.#tun !== undefined;
  }

  /** Reads and sends until there is no more, or the other direction should have its turn. */
  run(): Outcome {
    if (!this.#flush()) return "blocked";
    const tun = this.#tun;
    if (tun === undefined) return "gone";
    const headerSize = this.#headerSize;
    for (let reads = 0; reads < READS; reads++) {
      // The IP header comes to lie on a multiple of 16.
      const at = ((this.#region + this.#used + 63) & ~63) + 16;
      const length = tun.read(at - headerSize, PACKET_ROOM);
      if (length <= headerSize) {
        if (!this.#flush()) return "blocked";
        if (length === -EAGAIN) {
          this.#isLone = reads <= 1;
          return "empty";
        }
        if (length === -EINTR) continue;
        if (length === -EBADFD || (length < 0 && ++this.#failures > MOST_FAILURES)) return "gone";
        // Also a packet that the kernel cannot hand over as the device asks for, and has dropped itself.
        this.#context.counters.dropped("bad packet", 1);
        continue;
      }
      this.#failures = 0;
      this.#used = at + length - headerSize - this.#region;
      this.#take(at, length - headerSize);
      // Not asked first whether there is more: it is on its way sooner, and less long in our hands.
      const isAlone = reads === 0 && this.#isLone && length <= LONE_BYTES;
      if ((isAlone || this.#isFull) && !this.#flush()) return "blocked";
    }
    this.#isLone = false;
    return this.#flush() ? "more" : "blocked";
  }

  /** Sends what has been read already, and reads no more. @returns false if the socket takes no more for now */
  finish(): boolean {
    return this.#flush();
  }

  get #isFull(): boolean {
    return (
      this.#used > BATCH_BYTES ||
      this.#batch.count >= this.#batchMessages ||
      this.#batch.pieces.count >= BATCH_PIECES ||
      !this.#segmenter.hasRoom
    );
  }

  #flush(): boolean {
    if (this.#batch.count > 0 && !this.sender.send()) return false;
    this.#used = 0;
    this.#openPeer = -1;
    this.#segmenter.clear();
    return true;
  }

  #take(at: number, length: number): void {
    const context = this.#context;
    const { counters, forwarding } = context;
    const packet = this.#packet;
    if (packet.parse(at, length) !== PacketFault.none) return counters.dropped("bad packet", 1);
    const peer = forwarding.route(packet);
    if (peer === NO_ROUTE) {
      const reason = forwarding.hasFamily(packet) ? "no route" : "family not in use";
      counters.dropped(reason, 1);
      context.sample(reason, 0, packet);
      return context.refuse(packet, "no route");
    }
    if (!packet.decrementTtl()) {
      counters.dropped("ttl exceeded", 1);
      context.sample("ttl exceeded", 0, packet);
      return context.refuse(packet, "ttl exceeded");
    }
    if (this.#headerSize > 0) this.#header.read(this.#arena.view, at - VIRTIO_HEADER_SIZE);
    const { pieces } = this.#batch;
    const first = pieces.count;
    const segmenter = this.#segmenter;
    if (segmenter.segment(packet, this.#header, pieces) !== 0) {
      pieces.count = first;
      return counters.dropped("bad packet", 1);
    }
    const { count } = segmenter;
    counters.sent(peer, count, segmenter.totalBytes);
    this.#post(peer, first, count === 1 ? 1 : 2, count, segmenter.segmentSize, segmenter.lastSize);
  }

  /**
   * Puts datagrams into messages: into the last one, as long as they go the same way, are as long as those in it, and it has room; then
   * into new ones. A message may end with a shorter datagram.
   * @param pieces of each datagram
   */
  #post(peer: number, first: number, pieces: number, count: number, segment: number, last: number): void {
    let done = this.#join(peer, first, pieces, count, segment, last);
    const most = this.sender.segments ? messageRoom(segment) : 1;
    const address = this.#context.forwarding.addressOf(peer);
    while (done < count) {
      const here = Math.min(most, count - done);
      this.#openFirst = first + done * pieces;
      this.#openPeer = peer;
      this.#openSegment = segment;
      this.#openCount = here;
      this.#batch.add(address, this.#openFirst, here * pieces, here === 1 ? 0 : segment);
      done += here;
    }
    if (last < segment) this.#openPeer = -1;
  }

  /** @returns how many of the datagrams the last message took */
  #join(peer: number, first: number, pieces: number, count: number, segment: number, last: number): number {
    if (peer !== this.#openPeer || !this.sender.segments) return 0;
    const isShorter = count === 1 && last < this.#openSegment;
    if (segment !== this.#openSegment && !isShorter) return 0;
    const room = messageRoom(this.#openSegment) - this.#openCount;
    const here = Math.min(room, count);
    if (here === 0) return 0;
    this.#openCount += here;
    this.#batch.resize(first + here * pieces - this.#openFirst, this.#openSegment);
    if (isShorter) this.#openPeer = -1;
    return here;
  }
}
