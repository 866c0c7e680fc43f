import type { ReceiveBatch, SendBatch } from "./message-batch.ts";
import type { ScatterList } from "./scatter-list.ts";

/** A TUN device as the packet path sees it: a packet per call, never waiting. Failures are negative errnos. */
export interface TunPort {
  /** @returns bytes, including the virtio header where the device has one */
  read(at: number, length: number): number;
  /** Hands all pieces over as one packet. */
  write(pieces: ScatterList): number;
}

/** The most ranges of addresses that a socket can be limited to. */
export const MOST_SOURCES = 1000;

/** Of messages from elsewhere one in so many comes through: a power of two. */
export const SAMPLE = 256;

/** A UDP socket as the packet path sees it: many messages per call, never waiting. Failures are negative errnos. */
export interface SocketPort {
  /** Fills the batch from its beginning. @returns messages */
  receive(batch: ReceiveBatch): number;
  /** @param from index of the first message @returns messages taken, at least one */
  send(batch: SendBatch, from: number): number;
  /** Messages that the kernel has dropped since the socket was made, for a full queue or by `limitSources()`; modulo 2³². 0 before Linux 4.12. */
  dropped(): number;
  /**
   * Has the kernel drop what comes from elsewhere, but for one message in {@link SAMPLE}, by chance; instead of what it was told before.
   * @param ranges first and last address of each, ascending, with gaps between; at most {@link MOST_SOURCES}. Undefined: from anywhere
   * @returns 0; -ENOMEM if they are too many for the memory that the kernel gives a socket
   */
  limitSources(ranges: Uint32Array | undefined): number;
}

/** Sends whole IPv4 packets as this host's own. */
export interface RawPort {
  send(at: number, length: number): number;
}

/** Waits until there is something to do for the packet path. */
export interface PollerPort {
  /** Whether something can be read from the TUN device, or it is gone. */
  readonly isTunReady: boolean;
  readonly isSocketReady: boolean;
  /** Whether somebody else has a message for this thread. */
  readonly isWoken: boolean;
  /**
   * @param wants what to wait for, besides being woken
   * @param timeout in milliseconds; 0 only looks, -1 waits for ever
   */
  wait(wants: PollerWants, timeout: number): void;
}

export interface PollerWants {
  readonly tun: boolean;
  readonly socket: boolean;
  /** That the socket takes messages again. */
  readonly room: boolean;
}
