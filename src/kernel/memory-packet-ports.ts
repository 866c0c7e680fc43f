// For tests only.

import type { Arena } from "../lib/arena.ts";
import { EAGAIN, EBADFD, EINVAL, EMSGSIZE, ENOMEM } from "./errno.ts";
import type { ReceiveBatch, SendBatch } from "./message-batch.ts";
import type { RawPort, SocketPort, TunPort } from "./packet-ports.ts";
import type { ScatterList } from "./scatter-list.ts";

/** Memory as the kernel sees it: by addresses, and by C's structures where pointers have 8 bytes. Shares nothing with who wrote them. */
class UserMemory {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #base: bigint;

  constructor(arena: Arena, base: number) {
    this.bytes = arena.bytes;
    this.view = arena.view;
    this.#base = BigInt(base);
  }

  /** Where in the arena a pointer leads to. @throws outside of it, as a program would be ended */
  pointer(at: number): number {
    const offset = this.view.getBigUint64(at, true) - this.#base;
    if (offset < 0n || offset >= BigInt(this.bytes.length)) throw new Error(`a pointer out of memory: ${offset}`);
    return Number(offset);
  }

  size(at: number): number {
    return Number(this.view.getBigUint64(at, true));
  }

  setSize(at: number, size: number): void {
    this.view.setBigUint64(at, BigInt(size), true);
  }

  /** What `count` of `struct iovec` name. */
  gather(at: number, count: number): Uint8Array {
    const pieces = Array.from({ length: count }, (_, index) => {
      const start = this.pointer(at + index * 16);
      return this.bytes.subarray(start, start + this.size(at + index * 16 + 8));
    });
    return new Uint8Array(Buffer.concat(pieces));
  }

  /** `struct msghdr` */
  message(at: number): MessageHeader {
    return {
      name: this.pointer(at),
      nameLength: this.view.getUint32(at + 8, true),
      pieces: this.pointer(at + 16),
      pieceCount: this.size(at + 24),
      control: this.pointer(at + 32),
      controlLength: this.size(at + 40),
    };
  }
}

interface MessageHeader {
  readonly name: number;
  readonly nameLength: number;
  readonly pieces: number;
  readonly pieceCount: number;
  readonly control: number;
  readonly controlLength: number;
}

/** `struct mmsghdr`: a `struct msghdr` of 56 bytes, then how many bytes were taken or brought. */
const MMSGHDR = 64;
const TAKEN = 56;
const SOCKADDR_IN = 16;
const AF_INET = 2;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const UDP_GRO = 104;
/** `struct cmsghdr`, and with the int that UDP_GRO tells */
const CMSGHDR = 16;
const GRO_CONTROL = 24;
const MOST_SEGMENTS = 64;
const MOST_BYTES = 65_507;

/** A TUN device in memory: what the kernel would hand over, and what it was handed. */
export class MemoryTun implements TunPort {
  /** Packets to be read, each with its virtio header if the device has one; a number is a negative errno to be answered once. */
  readonly toRead: (Uint8Array | number)[] = [];
  readonly written: Uint8Array[] = [];
  /** What the next writes answer, instead of being done; negative errnos. */
  readonly refusals: number[] = [];
  /** Whether somebody has deleted the device. */
  isGone = false;
  readonly #memory: UserMemory;

  /** @param base the arena's address, as far as those who use the device know */
  constructor(arena: Arena, base: number) {
    this.#memory = new UserMemory(arena, base);
  }

  read(at: number, length: number): number {
    if (this.isGone) return -EBADFD;
    const packet = this.toRead.shift();
    if (packet === undefined) return -EAGAIN;
    if (typeof packet === "number") return packet;
    const size = Math.min(packet.length, length);
    this.#memory.bytes.set(packet.subarray(0, size), at);
    return size;
  }

  write(pieces: ScatterList): number {
    if (this.isGone) return -EBADFD;
    const refusal = this.refusals.shift();
    if (refusal !== undefined) return refusal;
    const packet = this.#memory.gather(pieces.at, pieces.count);
    this.written.push(packet);
    return packet.length;
  }
}

/** A datagram with who sent it or shall get it, an IPv4 address as a number. */
export interface MemoryDatagram {
  readonly host: number;
  readonly bytes: Uint8Array;
}

/** A message as UDP_GRO hands it over: datagrams of `segment` bytes, the last maybe shorter; 0 without UDP_GRO. */
export interface MemoryMessage extends MemoryDatagram {
  readonly segment: number;
}

/** A UDP socket in memory, which reads and writes `struct mmsghdr` and cuts messages as the kernel does. */
export class MemorySocket implements SocketPort {
  readonly toReceive: MemoryMessage[] = [];
  readonly sent: MemoryDatagram[] = [];
  /** What was sent, before it was cut; 0 segments what was one datagram. */
  readonly sentMessages: MemoryMessage[] = [];
  /** How many calls there were for what was sent. */
  calls = 0;
  /** Ports that datagrams went to. */
  readonly ports = new Set<number>();
  /** What the next receives and sends answer, instead of being done; negative errnos. */
  readonly failures: number[] = [];
  readonly refusals: number[] = [];
  /** What the kernel says to one message; 0 to take it. */
  judge: (message: MemoryMessage) => number = () => 0;
  /** Messages taken before there is no more room. */
  room = Number.POSITIVE_INFINITY;
  /** Messages that the kernel dropped. */
  lost = 0;
  /** Where messages should come from; here it is a test's business. */
  sources: Uint32Array | undefined;
  /** The most ranges there is memory for. */
  mostSources = Number.POSITIVE_INFINITY;
  readonly #memory: UserMemory;

  /** @param base the arena's address, as far as those who use the socket know */
  constructor(arena: Arena, base: number) {
    this.#memory = new UserMemory(arena, base);
  }

  receive(batch: ReceiveBatch): number {
    const failure = this.failures.shift();
    if (failure !== undefined) return failure;
    let count = 0;
    for (; count < batch.capacity; count++) {
      const message = this.toReceive.shift();
      if (message === undefined) break;
      this.#fill(batch.at + count * MMSGHDR, message);
    }
    return count === 0 ? -EAGAIN : count;
  }

  #fill(at: number, { host, bytes, segment }: MemoryMessage): void {
    const { view } = this.#memory;
    const { name, nameLength, pieces, pieceCount, control, controlLength } = this.#memory.message(at);
    if (pieceCount !== 1) throw new Error(`a message to be received into ${pieceCount} pieces`);
    const size = Math.min(bytes.length, this.#memory.size(pieces + 8));
    this.#memory.bytes.set(bytes.subarray(0, size), this.#memory.pointer(pieces));
    if (nameLength >= SOCKADDR_IN) {
      view.setUint16(name, AF_INET, true);
      view.setUint32(name + 4, host);
    }
    view.setUint32(at + 8, SOCKADDR_IN, true);
    const isMerged = segment > 0 && segment < bytes.length && controlLength >= GRO_CONTROL;
    if (isMerged) {
      this.#memory.setSize(control, CMSGHDR + 4);
      view.setInt32(control + 8, SOL_UDP, true);
      view.setInt32(control + 12, UDP_GRO, true);
      view.setInt32(control + CMSGHDR, segment, true);
    }
    this.#memory.setSize(at + 40, isMerged ? GRO_CONTROL : 0);
    view.setUint32(at + TAKEN, size, true);
  }

  send(batch: SendBatch, from: number): number {
    this.calls++;
    const refusal = this.refusals.shift();
    if (refusal !== undefined) return refusal;
    let taken = 0;
    for (; from + taken < batch.count; taken++) {
      if (this.room === 0) return taken || -EAGAIN;
      const message = this.#read(batch.at + (from + taken) * MMSGHDR);
      const answer = refuses(message) || this.judge(message);
      if (answer !== 0) return taken || answer;
      this.room--;
      this.#take(message);
    }
    return taken;
  }

  dropped(): number {
    return this.lost;
  }

  limitSources(ranges: Uint32Array | undefined): number {
    if ((ranges?.length ?? 0) > 2 * this.mostSources) return -ENOMEM;
    this.sources = ranges;
    return 0;
  }

  #read(at: number): MemoryMessage {
    const { view } = this.#memory;
    const { name, nameLength, pieces, pieceCount, control, controlLength } = this.#memory.message(at);
    if (nameLength !== SOCKADDR_IN || view.getUint16(name, true) !== AF_INET) throw new Error("not an IPv4 address");
    this.ports.add(view.getUint16(name + 2));
    const isSegmented = controlLength !== 0;
    if (
      isSegmented &&
      (this.#memory.size(control) !== CMSGHDR + 2 ||
        view.getInt32(control + 8, true) !== SOL_UDP ||
        view.getInt32(control + 12, true) !== UDP_SEGMENT)
    )
      throw new Error("control data that says nothing of segments");
    return {
      host: view.getUint32(name + 4),
      bytes: this.#memory.gather(pieces, pieceCount),
      segment: isSegmented ? view.getUint16(control + CMSGHDR, true) : 0,
    };
  }

  #take(message: MemoryMessage): void {
    const { host, bytes } = message;
    this.sentMessages.push(message);
    const segment = message.segment || bytes.length;
    for (let at = 0; at < bytes.length; at += segment) this.sent.push({ host, bytes: bytes.slice(at, at + segment) });
  }
}

/** What every kernel refuses. */
function refuses({ bytes, segment }: MemoryMessage): number {
  if (bytes.length > MOST_BYTES) return -EMSGSIZE;
  return segment > 0 && bytes.length > segment * MOST_SEGMENTS ? -EINVAL : 0;
}

export class MemoryRaw implements RawPort {
  readonly sent: Uint8Array[] = [];
  readonly #arena: Arena;

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  send(at: number, length: number): number {
    this.sent.push(this.#arena.bytes.slice(at, at + length));
    return length;
  }
}
