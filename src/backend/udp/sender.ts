import { EAGAIN, EINTR, EINVAL, EIO, EMSGSIZE } from "../../kernel/errno.ts";
import { SendBatch } from "../../kernel/message-batch.ts";
import type { SocketPort } from "../../kernel/packet-ports.ts";
import type { PacketContext } from "./packet-context.ts";

/** The most datagrams of one message, and two pieces each. */
const DATAGRAMS = 64;

/** Sends a batch, whatever the kernel says to some of its messages. */
export class Sender {
  socket: SocketPort | undefined;
  /** Whether the kernel cuts a message into datagrams, as far as we know. */
  segments = false;
  readonly #context: PacketContext;
  readonly #batch: SendBatch;
  /** A message that the kernel would not cut, datagram by datagram. */
  readonly #plain: SendBatch;
  #sent = 0;
  #plainSent = 0;

  constructor(context: PacketContext, batch: SendBatch, port: number) {
    this.#context = context;
    this.#batch = batch;
    this.#plain = new SendBatch(context.arena, context.base, { messages: DATAGRAMS, pieces: 2 * DATAGRAMS, port });
  }

  /** Sends what is left of the batch and empties it. @returns false if the socket takes no more for now: call again later */
  send(): boolean {
    const batch = this.#batch;
    while (this.#sent < batch.count || this.#plain.count > 0) {
      if (this.#plain.count > 0) {
        if (!this.#sendPlain()) return false;
        continue;
      }
      const result = this.socket?.send(batch, this.#sent) ?? 0;
      if (result > 0) {
        this.#sent += result;
      } else if (result === -EAGAIN) {
        return false;
      } else if (result !== -EINTR) {
        this.#refused(-result);
        this.#sent++;
      }
    }
    this.#sent = 0;
    batch.clear();
    return true;
  }

  /** The kernel takes the first unsent message not as it is. */
  #refused(errno: number): void {
    const segment = this.#batch.segmentOf(this.#sent);
    // EIO: a device that cannot compute checksums, as of an old tunnel; EMSGSIZE and EINVAL: the path takes less than a segment.
    const mayWorkPlain = segment !== 0 && (errno === EIO || errno === EINVAL || errno === EMSGSIZE);
    if (!mayWorkPlain) return this.#dropped(errno, segment === 0 ? 1 : this.#datagramsOf(this.#sent, segment));
    if (errno === EIO && this.segments) {
      this.segments = false;
      this.#context.degraded("the network device cannot segment: datagrams are sent one by one");
    }
    this.#split(this.#sent, segment);
  }

  #dropped(errno: number, datagrams: number): void {
    this.#context.counters.dropped(errno === EMSGSIZE ? "too big" : "send failed", datagrams);
  }

  #datagramsOf(index: number, segment: number): number {
    const { pieces } = this.#batch;
    const begin = this.#batch.firstPieceOf(index);
    const end = begin + this.#batch.pieceCountOf(index);
    let bytes = 0;
    for (let piece = begin; piece < end; piece++) bytes += pieces.lengthOf(piece);
    return Math.ceil(bytes / segment);
  }

  #split(index: number, segment: number): void {
    const { pieces } = this.#batch;
    const plain = this.#plain;
    const destination = this.#batch.destinationOf(index);
    const begin = this.#batch.firstPieceOf(index);
    const end = begin + this.#batch.pieceCountOf(index);
    let first = 0;
    let bytes = 0;
    for (let piece = begin; piece < end; piece++) {
      const length = pieces.lengthOf(piece);
      plain.pieces.piece(pieces.startOf(piece), length);
      bytes += length;
      if (bytes < segment && piece + 1 < end) continue;
      plain.add(destination, first, plain.pieces.count - first, 0);
      first = plain.pieces.count;
      bytes = 0;
    }
  }

  #sendPlain(): boolean {
    const plain = this.#plain;
    while (this.#plainSent < plain.count) {
      const result = this.socket?.send(plain, this.#plainSent) ?? 0;
      if (result > 0) this.#plainSent += result;
      else if (result === -EAGAIN) return false;
      else if (result !== -EINTR) {
        this.#dropped(-result, 1);
        this.#plainSent++;
      }
    }
    this.#plainSent = 0;
    plain.clear();
    return true;
  }
}
