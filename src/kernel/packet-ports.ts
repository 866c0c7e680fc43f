import type { Arena } from "../lib/arena.ts";
import { SystemCallError } from "./errno.ts";
import { AF_INET, SOCK_NONBLOCK, SOCK_RAW, socket } from "./libc.ts";
import type { ReceiveBatch, SendBatch } from "./message-batch.ts";
import { addressOf, read, recvmmsg, sendmmsg, sendto, writev } from "./packet-calls.ts";
import type { ScatterList } from "./scatter-list.ts";

const IPPROTO_RAW = 255;

/** A TUN device as the packet path sees it: a packet per call, never waiting. Failures are negative errnos. */
export interface TunPort {
  /** @returns bytes, including the virtio header where the device has one */
  read(at: number, length: number): number;
  /** Hands all pieces over as one packet. */
  write(pieces: ScatterList): number;
}

/** A UDP socket as the packet path sees it: many messages per call, never waiting. Failures are negative errnos. */
export interface SocketPort {
  /** Fills the batch from its beginning. @returns messages */
  receive(batch: ReceiveBatch): number;
  /** @param from index of the first message @returns messages taken, at least one */
  send(batch: SendBatch, from: number): number;
}

/** Sends whole IPv4 packets as this host's own. */
export interface RawPort {
  send(at: number, length: number): number;
}

export function tunPort(arena: Arena, fd: number): TunPort {
  const base = addressOf(arena);
  return {
    read: (at, length) => read(fd, base + at, length),
    write: (pieces) => writev(fd, base + pieces.at, pieces.count),
  };
}

export function socketPort(arena: Arena, fd: number): SocketPort {
  const base = addressOf(arena);
  return {
    receive: (batch) => recvmmsg(fd, base + batch.at, batch.capacity),
    send: (batch, from) => sendmmsg(fd, base + batch.offsetOf(from), batch.count - from),
  };
}

/** A socket that is given IPv4 packets with their headers; undefined without CAP_NET_RAW. */
export function openRawSocket(): number | undefined {
  try {
    return socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_RAW);
  } catch (error) {
    if (error instanceof SystemCallError) return undefined;
    throw error;
  }
}

/** @param fd of {@link openRawSocket} */
export function rawPort(arena: Arena, fd: number): RawPort {
  const base = addressOf(arena);
  const name = arena.reserve(16);
  const DESTINATION = 16; // in an IPv4 header
  arena.view.setUint16(name, AF_INET, true);
  return {
    send(at, length) {
      arena.view.setUint32(name + 4, arena.view.getUint32(at + DESTINATION));
      return sendto(fd, base + at, length, base + name, 16);
    },
  };
}
