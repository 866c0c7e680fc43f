import type { Arena } from "../../lib/arena.ts";
import { type Checksum, fold } from "../../wire/packet/checksum.ts";
import {
  IPV4_DONT_FRAGMENT,
  IPV4_FRAGMENT,
  IPV4_HEADER_SIZE,
  IPV6_HEADER_SIZE,
  type IpPacket,
  TCP,
  UDP,
} from "../../wire/packet/ip-packet.ts";
import {
  TCP_ACK,
  TCP_DATA_OFFSET,
  TCP_FIN,
  TCP_FLAGS,
  TCP_HEADER_SIZE,
  TCP_PSH,
  UDP_CHECKSUM,
  UDP_HEADER_SIZE,
  UDP_LENGTH,
} from "../../wire/packet/transport.ts";

/** Which packets the device takes merged. */
export interface Merges {
  readonly tcp4: boolean;
  readonly tcp6: boolean;
  readonly udp4: boolean;
  readonly udp6: boolean;
}

/** A packet seen as what it might become: part of a larger one. Reused for one packet after another. */
export class MergeCandidate {
  readonly #view: DataView;
  readonly #checksum: Checksum;
  at = 0;
  length = 0;
  version: 4 | 6 = 4;
  protocol = 0;
  transportAt = 0;
  payloadAt = 0;
  payloadLength = 0;
  /** TCP's, else 0. */
  flags = 0;

  constructor(arena: Arena, checksum: Checksum) {
    this.#view = arena.view;
    this.#checksum = checksum;
  }

  /** @returns whether the packet is of a kind that may be merged at all; only then the rest is told. Checksums are not looked at. */
  read(packet: IpPacket, merges: Merges): boolean {
    const isTcp = packet.protocol === TCP;
    if (packet.version === 4) {
      if (!(isTcp ? merges.tcp4 : merges.udp4) || packet.headerLength !== IPV4_HEADER_SIZE) return false;
      // Also refuses the bit that must be zero.
      if ((this.#view.getUint16(packet.at + IPV4_FRAGMENT) & ~IPV4_DONT_FRAGMENT) !== 0) return false;
    } else if (!(isTcp ? merges.tcp6 : merges.udp6) || packet.headerLength !== IPV6_HEADER_SIZE) return false;
    this.at = packet.at;
    this.length = packet.length;
    this.version = packet.version;
    this.protocol = packet.protocol;
    this.transportAt = packet.transportAt;
    if (isTcp) return this.#readTcp(packet.transportLength);
    return packet.protocol === UDP && this.#readUdp(packet.transportLength);
  }

  /** Whether nothing may follow in the same packet: what a segmenter does with PSH and FIN, it does at the end. */
  get isLast(): boolean {
    return (this.flags & (TCP_PSH | TCP_FIN)) !== 0;
  }

  /** Whether all its checksums are right. */
  isIntact(): boolean {
    const sum = this.#checksum;
    const headerLength = this.transportAt - this.at;
    if (this.version === 4 && sum.sum(this.at, headerLength) !== 0xffff) return false;
    const length = this.length - headerLength;
    const pseudo =
      this.version === 4
        ? sum.pseudoHeader(this.at + 12, 8, this.protocol, length)
        : sum.pseudoHeader(this.at + 8, 32, this.protocol, length);
    return fold(pseudo + sum.sum(this.transportAt, length)) === 0xffff;
  }

  /** Becomes another's twin. */
  copy(other: MergeCandidate): void {
    this.at = other.at;
    this.length = other.length;
    this.version = other.version;
    this.protocol = other.protocol;
    this.transportAt = other.transportAt;
    this.payloadAt = other.payloadAt;
    this.payloadLength = other.payloadLength;
    this.flags = other.flags;
  }

  #readTcp(length: number): boolean {
    if (length < TCP_HEADER_SIZE) return false;
    const offset = this.#view.getUint8(this.transportAt + TCP_DATA_OFFSET);
    const headerLength = (offset >>> 4) << 2;
    this.flags = this.#view.getUint8(this.transportAt + TCP_FLAGS);
    this.payloadAt = this.transportAt + headerLength;
    this.payloadLength = length - headerLength;
    return (
      (offset & 0xf) === 0 &&
      headerLength >= TCP_HEADER_SIZE &&
      this.payloadLength > 0 &&
      (this.flags & ~(TCP_PSH | TCP_FIN)) === TCP_ACK
    );
  }

  #readUdp(length: number): boolean {
    if (length <= UDP_HEADER_SIZE || this.#view.getUint16(this.transportAt + UDP_LENGTH) !== length) return false;
    this.flags = 0;
    this.payloadAt = this.transportAt + UDP_HEADER_SIZE;
    this.payloadLength = length - UDP_HEADER_SIZE;
    return this.#view.getUint16(this.transportAt + UDP_CHECKSUM) !== 0;
  }
}
