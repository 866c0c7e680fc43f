import type { Arena } from "../lib/arena.ts";
import { ScatterList } from "./scatter-list.ts";

/** `struct mmsghdr` where pointers have 8 bytes: name u64, namelen u32, -, iov u64, iovlen u64, control u64, controllen u64, flags i32, -, len u32, -. */
const HEADER = 64;
const NAME_LENGTH = 8 >> 2;
const PIECES = 16 >> 2;
const PIECE_COUNT = 24 >> 2;
const CONTROL = 32 >> 2;
const CONTROL_LENGTH = 40 >> 2;
const LENGTH = 56 >> 2;

/** `struct sockaddr_in`: family u16, port u16be, address u32be, 8 unused. */
const NAME = 16;
const AF_INET = 2;

/** `struct cmsghdr`: length u64, level i32, type i32; then the value, padded to 8. */
const CONTROL_HEADER = 16;
const CONTROL_ROOM = 64;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const UDP_GRO = 104;

/** Memory that tells sendmmsg(2) or recvmmsg(2) what to do: `struct mmsghdr[]` and what it points to. IPv4 outside. */
class MessageBatch {
  /** Offset of the first message. */
  readonly at: number;
  readonly capacity: number;
  protected readonly words: Int32Array;
  protected readonly view: DataView;
  readonly #base: number;
  readonly #names: number;
  readonly #controls: number;

  protected constructor(arena: Arena, base: number, capacity: number) {
    this.#base = base;
    this.capacity = capacity;
    this.words = arena.words;
    this.view = arena.view;
    this.at = arena.reserve(capacity * HEADER);
    this.#names = arena.reserve(capacity * NAME);
    this.#controls = arena.reserve(capacity * CONTROL_ROOM);
    for (let index = 0; index < capacity; index++) {
      this.setPointer(this.word(index), this.nameAt(index));
      this.words[this.word(index) + NAME_LENGTH] = NAME;
      this.setPointer(this.word(index) + CONTROL, this.controlAt(index));
    }
  }

  /** Offset of a message. */
  offsetOf(index: number): number {
    return this.at + index * HEADER;
  }

  /** Offset of a message's `struct sockaddr_in`. */
  protected nameAt(index: number): number {
    return this.#names + index * NAME;
  }

  protected controlAt(index: number): number {
    return this.#controls + index * CONTROL_ROOM;
  }

  protected word(index: number): number {
    return this.offsetOf(index) >> 2;
  }

  protected setPointer(word: number, at: number): void {
    const address = this.#base + at;
    this.words[word] = (address % 0x1_0000_0000) | 0;
    this.words[word + 1] = Math.floor(address / 0x1_0000_0000);
  }
}

export interface SendBatchOptions {
  readonly messages: number;
  readonly pieces: number;
  /** Where peers listen. */
  readonly port: number;
}

/** Messages to be sent. One message is several datagrams of equal size where the kernel segments it. */
export class SendBatch extends MessageBatch {
  count = 0;
  /** What the messages consist of, in their order. */
  readonly pieces: ScatterList;

  constructor(arena: Arena, base: number, { messages, pieces, port }: SendBatchOptions) {
    super(arena, base, messages);
    this.pieces = new ScatterList(arena, base, pieces);
    for (let index = 0; index < messages; index++) {
      this.view.setUint16(this.nameAt(index), AF_INET, true);
      this.view.setUint16(this.nameAt(index) + 2, port);
      const control = this.controlAt(index);
      this.view.setUint32(control, CONTROL_HEADER + 2, true);
      this.view.setInt32(control + 8, SOL_UDP, true);
      this.view.setInt32(control + 12, UDP_SEGMENT, true);
    }
  }

  /**
   * Appends a message; there must be room.
   * @param destination IPv4 address as a number
   * @param first index of its first piece
   * @param segment bytes of each datagram but the last, which may be shorter; 0 if the message is one datagram
   */
  add(destination: number, first: number, pieces: number, segment: number): void {
    this.setPointer(this.word(this.count) + PIECES, this.pieces.offsetOf(first));
    this.view.setUint32(this.nameAt(this.count) + 4, destination);
    this.count++;
    this.resize(pieces, segment);
  }

  /** Changes what the last message consists of. */
  resize(pieces: number, segment: number): void {
    const word = this.word(this.count - 1);
    this.words[word + PIECE_COUNT] = pieces;
    this.words[word + CONTROL_LENGTH] = segment === 0 ? 0 : CONTROL_HEADER + 8;
    this.view.setUint16(this.controlAt(this.count - 1) + 16, segment, true);
  }

  clear(): void {
    this.count = 0;
    this.pieces.count = 0;
  }

  destinationOf(index: number): number {
    return this.view.getUint32(this.nameAt(index) + 4);
  }

  /** As given to {@link add}. */
  segmentOf(index: number): number {
    const isSegmented = this.words[this.word(index) + CONTROL_LENGTH] !== 0;
    return isSegmented ? this.view.getUint16(this.controlAt(index) + 16, true) : 0;
  }

  firstPieceOf(index: number): number {
    return this.pieces.indexOf(this.words[this.word(index) + PIECES] ?? 0);
  }

  pieceCountOf(index: number): number {
    return this.words[this.word(index) + PIECE_COUNT] ?? 0;
  }
}

/** Messages received, each one datagram, or several of one sender that the kernel merged. */
export class ReceiveBatch extends MessageBatch {
  readonly #buffers: number;
  readonly #bufferSize: number;

  constructor(arena: Arena, base: number, { messages, bytes }: { readonly messages: number; readonly bytes: number }) {
    super(arena, base, messages);
    this.#bufferSize = bytes;
    this.#buffers = arena.reserve(messages * bytes, 4096);
    const pieces = new ScatterList(arena, base, messages);
    for (let index = 0; index < messages; index++) {
      pieces.piece(this.bufferAt(index), bytes);
      this.setPointer(this.word(index) + PIECES, pieces.offsetOf(index));
      this.words[this.word(index) + PIECE_COUNT] = 1;
    }
    this.clear(messages);
  }

  /** Offset of what a message brought. */
  bufferAt(index: number): number {
    return this.#buffers + index * this.#bufferSize;
  }

  lengthOf(index: number): number {
    return this.words[this.word(index) + LENGTH] ?? 0;
  }

  /** IPv4 address as a number. */
  sourceOf(index: number): number {
    return this.view.getUint32(this.nameAt(index) + 4);
  }

  /** Bytes of each datagram but the last, which may be shorter; all of the message if the kernel merged nothing. */
  segmentOf(index: number): number {
    const control = this.controlAt(index);
    const isMerged =
      (this.words[this.word(index) + CONTROL_LENGTH] ?? 0) >= CONTROL_HEADER + 4 &&
      this.view.getInt32(control + 8, true) === SOL_UDP &&
      this.view.getInt32(control + 12, true) === UDP_GRO;
    const segment = isMerged ? this.view.getInt32(control + CONTROL_HEADER, true) : 0;
    return segment > 0 ? segment : this.lengthOf(index);
  }

  /** Writes what the kernel would of a message that lies in its buffer. @param source IPv4 address as a number @param segment 0 if it is one datagram */
  fill(index: number, source: number, length: number, segment: number): void {
    const word = this.word(index);
    const control = this.controlAt(index);
    this.view.setUint32(this.nameAt(index) + 4, source);
    this.words[word + LENGTH] = length;
    this.words[word + CONTROL_LENGTH] = segment === 0 ? 0 : CONTROL_HEADER + 8;
    this.view.setInt32(control + 8, SOL_UDP, true);
    this.view.setInt32(control + 12, UDP_GRO, true);
    this.view.setInt32(control + CONTROL_HEADER, segment, true);
  }

  /** Makes the first `count` messages, which the kernel wrote to, ready to receive again. */
  clear(count: number): void {
    for (let index = 0; index < count; index++) {
      const word = this.word(index);
      this.words[word + NAME_LENGTH] = NAME;
      this.words[word + CONTROL_LENGTH] = CONTROL_ROOM;
    }
  }
}
