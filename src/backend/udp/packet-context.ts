import type { Arena } from "../../lib/arena.ts";
import type { IpPacket } from "../../wire/packet/ip-packet.ts";
import type { CountersWriter } from "./counters.ts";
import type { DropReason } from "./drop-reason.ts";
import type { FloodGuard } from "./flood-guard.ts";
import type { Forwarding } from "./forwarding.ts";
import type { IcmpErrorReason } from "./icmp-error.ts";

/** What both directions of the packet path work with. Called once per packet: nothing here may allocate. */
export interface PacketContext {
  readonly arena: Arena;
  /** The arena's address. */
  readonly base: number;
  /** Replaced between two batches. */
  readonly forwarding: Forwarding;
  readonly counters: CountersWriter;
  /** Tells the sender of a packet that is going out, or came in, why it goes no further. */
  refuse(packet: IpPacket, reason: IcmpErrorReason): void;
  /** What is done about strangers. */
  readonly guard: FloodGuard;
  /**
   * Shows one of many dropped packets to whoever keeps the log.
   * @param outerSource IPv4 address as a number
   * @param packets that it stands for; 1 if not given
   */
  sample(reason: DropReason, outerSource: number, packet: IpPacket, packets?: number): void;
  /** A feature that the kernel offered does not work. */
  degraded(reason: string): void;
}
