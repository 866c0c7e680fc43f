import { type Address, encodeAddress } from "../../ip/address.ts";
import type { Arena } from "../../lib/arena.ts";
import type { Milliseconds } from "../../lib/clock.ts";
import { TokenBucket } from "../../lib/token-bucket.ts";
import { type Checksum, finish } from "../../wire/packet/checksum.ts";
import {
  ICMP,
  ICMP6,
  IPV4_CHECKSUM,
  IPV4_HEADER_SIZE,
  IPV6_HEADER_SIZE,
  type IpPacket,
} from "../../wire/packet/ip-packet.ts";
import type { DropReason } from "./drop-reason.ts";

/** What the sender of a packet is told. */
export type IcmpErrorReason = Extract<DropReason, "no route" | "ttl exceeded">;

/** Bytes of an error at most, with as much of the packet as fits. RFC 1812 §4.3.2.3, RFC 4443 §2.4(c). */
const MOST4 = 576;
const MOST6 = 1280;
/** Type, code, checksum, and four bytes that these errors leave 0. */
const ICMP_HEADER_SIZE = 8;

const TTL = 64;
/** Internetwork control, as routers mark errors. RFC 1812 §4.3.2.5. */
const TOS = 0xc0;

/** As Linux limits its own, `icmp_msgs_per_sec` and `icmp_msgs_burst`. */
const LIMIT = { perSecond: 1000, burst: 50 };

/** ICMP's types that are no errors, a bit each: echo, router discovery, timestamp, information, address mask. */
const HARMLESS4 = [0, 8, 9, 10, 13, 14, 15, 16, 17, 18].reduce((bits, type) => bits | (1 << type), 0);
/** ICMPv6's types from here on are no errors, but for redirects. RFC 4443 §2.1. */
const INFORMATION6 = 128;
const REDIRECT6 = 137;

/** ICMP errors about packets that go no further, for a raw socket that takes IP headers: sent so, they are no martians. */
export class IcmpErrors {
  /** Where the error that was built last begins: its IP header. */
  readonly at: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #checksum: Checksum;
  readonly #source4: Uint8Array | undefined;
  readonly #source6: Uint8Array | undefined;
  readonly #limit = new TokenBucket(LIMIT);

  /** @param sources the TUN device's addresses, of each family at most one; no errors are sent in a family without */
  constructor(arena: Arena, checksum: Checksum, sources: readonly Address[]) {
    this.#bytes = arena.bytes;
    this.#view = arena.view;
    this.#checksum = checksum;
    const source = (family: 4 | 6) => sources.filter((address) => address.family === family).map(encodeAddress)[0];
    this.#source4 = source(4);
    this.#source6 = source(6);
    this.at = arena.reserve(MOST6);
  }

  /**
   * @param now in milliseconds, of a clock that never steps back
   * @returns the error's length, or 0 if none must be sent: by its kind or because there were too many
   */
  build(packet: IpPacket, reason: IcmpErrorReason, now: Milliseconds): number {
    const source = packet.version === 4 ? this.#source4 : this.#source6;
    if (source === undefined || !this.#mayAnswer(packet) || !this.#limit.take(now)) return 0;
    return packet.version === 4 ? this.#build4(packet, reason, source) : this.#build6(packet, reason, source);
  }

  /** RFC 1122 §3.2.2, RFC 1812 §4.3.2.7, RFC 4443 §2.4(e). What a later fragment is part of is unknown: it may be an error. */
  #mayAnswer(packet: IpPacket): boolean {
    if (!packet.isFirstFragment) return false;
    return packet.version === 4 ? this.#mayAnswer4(packet) : this.#mayAnswer6(packet);
  }

  #mayAnswer4(packet: IpPacket): boolean {
    const bytes = this.#bytes;
    // Neither to nor about what is not one host: nothing yet, loopback, multicast, the rest of 224/3 with broadcast.
    const from = bytes[packet.sourceAt] as number;
    if (from === 0 || from === 127 || from >= 224) return false;
    const to = this.#view.getInt32(packet.destinationAt);
    if (to >>> 28 === 0xe || to === -1) return false;
    if (packet.protocol !== ICMP) return true;
    const type = packet.transportLength > 0 ? (bytes[packet.transportAt] as number) : 32;
    return type < 32 && ((HARMLESS4 >>> type) & 1) === 1;
  }

  #mayAnswer6(packet: IpPacket): boolean {
    const view = this.#view;
    const { sourceAt } = packet;
    const from = view.getUint16(sourceAt);
    // Multicast and link-local, where no raw socket would know the link; :: and ::1 and all that begins like them.
    if (from >>> 8 === 0xff || (from & 0xffc0) === 0xfe80) return false;
    if (view.getInt32(sourceAt) === 0 && view.getInt32(sourceAt + 4) === 0) return false;
    if (this.#bytes[packet.destinationAt] === 0xff) return false;
    if (packet.protocol !== ICMP6) return true;
    const type = packet.transportLength > 0 ? (this.#bytes[packet.transportAt] as number) : 0;
    return type >= INFORMATION6 && type !== REDIRECT6;
  }

  #build4(packet: IpPacket, reason: IcmpErrorReason, source: Uint8Array): number {
    const { at } = this;
    const view = this.#view;
    const icmp = at + IPV4_HEADER_SIZE;
    const length = this.#quote(packet, icmp, MOST4 - IPV4_HEADER_SIZE);
    this.#bytes[icmp] = reason === "no route" ? 3 : 11; // destination unreachable, net; time exceeded in transit
    view.setUint16(icmp + 2, finish(this.#checksum.sum(icmp, length)));
    const total = IPV4_HEADER_SIZE + length;
    view.setUint16(at, 0x4500 | TOS);
    view.setUint16(at + 2, total);
    view.setInt32(at + 4, 0); // the kernel gives it an id
    view.setUint16(at + 8, (TTL << 8) | ICMP);
    view.setUint16(at + IPV4_CHECKSUM, 0);
    this.#address(source, packet.sourceAt, at + 12);
    view.setUint16(at + IPV4_CHECKSUM, finish(this.#checksum.sum(at, IPV4_HEADER_SIZE)));
    return total;
  }

  #build6(packet: IpPacket, reason: IcmpErrorReason, source: Uint8Array): number {
    const { at } = this;
    const view = this.#view;
    const icmp = at + IPV6_HEADER_SIZE;
    const length = this.#quote(packet, icmp, MOST6 - IPV6_HEADER_SIZE);
    view.setInt32(at, 0x6000_0000);
    view.setUint16(at + 4, length);
    view.setUint16(at + 6, (ICMP6 << 8) | TTL);
    this.#address(source, packet.sourceAt, at + 8);
    this.#bytes[icmp] = reason === "no route" ? 1 : 3; // no route to destination; hop limit exceeded in transit
    const pseudoHeader = this.#checksum.pseudoHeader(at + 8, 32, ICMP6, length);
    view.setUint16(icmp + 2, finish(pseudoHeader + this.#checksum.sum(icmp, length)));
    return IPV6_HEADER_SIZE + length;
  }

  /** An ICMP header of zeros, since all codes here are 0 too, and what fits of the packet. @returns bytes of both */
  #quote(packet: IpPacket, icmp: number, most: number): number {
    const quoted = Math.min(packet.length, most - ICMP_HEADER_SIZE);
    this.#view.setInt32(icmp, 0);
    this.#view.setInt32(icmp + 4, 0);
    this.#bytes.copyWithin(icmp + ICMP_HEADER_SIZE, packet.at, packet.at + quoted);
    return ICMP_HEADER_SIZE + quoted;
  }

  /** Ours, then whoever sent the packet. */
  #address(source: Uint8Array, sourceAt: number, at: number): void {
    this.#bytes.set(source, at);
    this.#bytes.copyWithin(at + source.length, sourceAt, sourceAt + source.length);
  }
}
