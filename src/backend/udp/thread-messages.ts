import type { Address } from "../../ip/address.ts";
import type { TunDevice } from "../../kernel/tun.ts";
import type { UdpSocket } from "../../kernel/udp-socket.ts";
import type { CountersMemory } from "./counters.ts";
import type { ForwardingData } from "./forwarding.ts";

/** What the packet thread is started with. */
export interface ThreadStart {
  /** UDP port of the peers. */
  readonly port: number;
  /** eventfd(2) by which the thread is told of messages. */
  readonly wake: number;
  /** {@link STOP} once the thread must end; looked at whenever it is woken. */
  readonly control: SharedArrayBuffer;
  readonly counters: CountersMemory;
  /** What ICMP errors come from: the TUN device's. */
  readonly addresses: readonly Address[];
  readonly forwarding: ForwardingData;
}

/** Value of the first word of `control`. */
export const STOP = 1;

/** To the packet thread. Descriptors are the thread's from then on: it closes the ones they replace. */
export type ThreadOrder =
  | { readonly type: "tun"; readonly device: TunDevice | undefined }
  | { readonly type: "socket"; readonly socket: UdpSocket | undefined }
  | { readonly type: "forwarding"; readonly forwarding: ForwardingData };

/** From the packet thread. */
export type ThreadNews =
  /** A feature that the kernel offered and that did not work. */
  { readonly type: "degraded"; readonly reason: string };
