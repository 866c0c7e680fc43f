// For tests only.

import type { Arena } from "../lib/arena.ts";
import { EAGAIN } from "./errno.ts";
import type { ReceiveBatch, SendBatch } from "./message-batch.ts";
import type { RawPort, SocketPort, TunPort } from "./packet-ports.ts";
import type { ScatterList } from "./scatter-list.ts";

/** A TUN device in memory: what the kernel would hand over, and what it was handed. */
export class MemoryTun implements TunPort {
  /** Packets to be read, each with its virtio header if the device has one. */
  readonly toRead: Uint8Array[] = [];
  readonly written: Uint8Array[] = [];
  /** What the next writes answer, instead of being done; negative errnos. */
  readonly refusals: number[] = [];
  readonly #arena: Arena;

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  read(at: number, length: number): number {
    const packet = this.toRead.shift();
    if (packet === undefined) return -EAGAIN;
    const size = Math.min(packet.length, length);
    this.#arena.bytes.set(packet.subarray(0, size), at);
    return size;
  }

  write(pieces: ScatterList): number {
    const refusal = this.refusals.shift();
    if (refusal !== undefined) return refusal;
    const packet = gather(this.#arena, pieces, 0, pieces.count);
    this.written.push(packet);
    return packet.length;
  }
}

/** A datagram with who sent it or shall get it, an IPv4 address as a number. */
export interface MemoryDatagram {
  readonly host: number;
  readonly bytes: Uint8Array;
}

/** A message as UDP_GRO hands it over: datagrams of `segment` bytes, the last maybe shorter. */
export interface MemoryMessage extends MemoryDatagram {
  readonly segment: number;
}

/** A UDP socket in memory, which cuts messages as the kernel does. */
export class MemorySocket implements SocketPort {
  readonly toReceive: MemoryMessage[] = [];
  readonly sent: MemoryDatagram[] = [];
  /** How many calls there were for what was sent. */
  calls = 0;
  /** What the next sends answer, instead of being done; negative errnos. */
  readonly refusals: number[] = [];
  /** Messages taken at one call. */
  room = Number.POSITIVE_INFINITY;
  readonly #arena: Arena;

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  receive(batch: ReceiveBatch): number {
    let count = 0;
    for (; count < batch.capacity; count++) {
      const message = this.toReceive.shift();
      if (message === undefined) break;
      this.#arena.bytes.set(message.bytes, batch.bufferAt(count));
      batch.fill(count, message.host, message.bytes.length, message.segment);
    }
    return count === 0 ? -EAGAIN : count;
  }

  send(batch: SendBatch, from: number): number {
    this.calls++;
    const refusal = this.refusals.shift();
    if (refusal !== undefined) return refusal;
    const count = Math.min(this.room, batch.count - from);
    if (count === 0) return -EAGAIN;
    for (let index = from; index < from + count; index++) {
      const first = batch.firstPieceOf(index);
      const bytes = gather(this.#arena, batch.pieces, first, first + batch.pieceCountOf(index));
      const segment = batch.segmentOf(index) || bytes.length;
      for (let at = 0; at < bytes.length; at += segment)
        this.sent.push({ host: batch.destinationOf(index), bytes: bytes.slice(at, at + segment) });
    }
    return count;
  }
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

function gather(arena: Arena, pieces: ScatterList, from: number, to: number): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let index = from; index < to; index++) {
    const start = pieces.startOf(index);
    parts.push(arena.bytes.subarray(start, start + pieces.lengthOf(index)));
  }
  return new Uint8Array(Buffer.concat(parts));
}
