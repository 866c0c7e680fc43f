import type { Address } from "../../ip/address.ts";
import type { TunDevice, UdpSocket } from "../../kernel/kernel.ts";
import type { CountersMemory } from "./counters.ts";
import type { DropSample } from "./drop-log.ts";
import type { ForwardingData } from "./forwarding.ts";

/** What the packet thread is started with. */
export interface ThreadStart {
  /** UDP port of the peers. */
  readonly port: number;
  /** Whether packets are moved one by one. */
  readonly isPlain: boolean;
  /** Four words that both threads read and write: {@link STATE}, {@link WAKE}, {@link ASKED}, {@link HEARD}. */
  readonly control: SharedArrayBuffer;
  readonly counters: CountersMemory;
  /** Whether samples of every kind of drop are wanted. */
  readonly isVerbose: boolean;
  /** What ICMP errors come from: the TUN device's. */
  readonly addresses: readonly Address[];
  readonly forwarding: ForwardingData;
}

/** Which word says whether the thread must end; looked at whenever it is woken. */
export const STATE = 0;
export const STOP = 1;
/**
 * Which word is the descriptor, an eventfd(2), that wakes the thread; 0 until there is one, which is the first thing that the thread makes, and
 * from then on a message or STOP is seen.
 */
export const WAKE = 1;
/** Counts how often the main thread has asked whether the packet thread still comes round, and what of that was heard. */
export const ASKED = 2;
export const HEARD = 3;

/** To the packet thread. Descriptors are the thread's from then on: it closes the ones they replace. */
export type ThreadOrder =
  | { readonly type: "tun"; readonly device: TunDevice | undefined }
  | { readonly type: "socket"; readonly socket: UdpSocket | undefined }
  | { readonly type: "forwarding"; readonly forwarding: ForwardingData };

/** From the packet thread. */
export type ThreadNews =
  /** A feature that the kernel offered and that did not work. */
  { readonly type: "degraded"; readonly reason: string } | { readonly type: "dropped"; readonly sample: DropSample };
