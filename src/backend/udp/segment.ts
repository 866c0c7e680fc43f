import type { Arena } from "../../lib/arena.ts";
import { type Checksum, finish, neverZero } from "../../wire/packet/checksum.ts";
import {
  IPV4_CHECKSUM,
  IPV4_DONT_FRAGMENT,
  IPV4_FRAGMENT,
  IPV4_ID,
  IPV4_TOTAL_LENGTH,
  IPV6_HEADER_SIZE,
  IPV6_PAYLOAD_LENGTH,
  type IpPacket,
  TCP,
  UDP,
} from "../../wire/packet/ip-packet.ts";
import {
  TCP_CHECKSUM,
  TCP_CWR,
  TCP_DATA_OFFSET,
  TCP_FIN,
  TCP_FLAGS,
  TCP_HEADER_SIZE,
  TCP_PSH,
  TCP_SEQUENCE,
  UDP_CHECKSUM,
  UDP_HEADER_SIZE,
  UDP_LENGTH,
} from "../../wire/packet/transport.ts";
import {
  VIRTIO_GSO_ECN,
  VIRTIO_GSO_NONE,
  VIRTIO_GSO_TCP4,
  VIRTIO_GSO_TCP6,
  VIRTIO_GSO_UDP,
  VIRTIO_NEEDS_CHECKSUM,
  type VirtioHeader,
} from "../../wire/packet/virtio-header.ts";

/** Takes where the bytes of packets lie, piece after piece. */
export interface PieceSink {
  piece(at: number, length: number): void;
}

/** Why a packet could not be made into datagrams; 0 says that it was. */
export const SegmentFault = {
  none: 0,
  /** The checksum's field lies outside of the packet, or not where its protocol has it. */
  badChecksumField: 1,
  /** No such kind of segmentation, or not for what the packet carries. */
  badKind: 2,
  badTransportHeader: 3,
  badSegmentSize: 4,
  tooManySegments: 5,
  /** Headers of earlier packets fill the memory: `clear()` once these are sent, and try again. */
  noRoom: 6,
} as const;
export type SegmentFault = (typeof SegmentFault)[keyof typeof SegmentFault];

/** 64 KiB in the smallest segments that TCP ever agrees on, with room to spare. */
export const MAX_SEGMENTS = 1024;
/** IPv4 and TCP with all options have 120 bytes; IPv6 may have extension headers. */
const MAX_HEADER = 256;
const MOST_HEADERS = MAX_SEGMENTS * MAX_HEADER;

/**
 * Makes what a TUN device with offloads hands out into packets as they go over a wire: none longer than its sender meant, each with a
 * complete checksum. Payload stays where it is, and so do headers if there is one packet only; else each packet gets a header of its
 * own in memory that is used anew after `clear()`.
 */
export class Segmenter {
  /** Of the last packet: how many datagrams it became, */
  count = 0;
  /** the bytes of each but the last, */
  segmentSize = 0;
  /** of the last, */
  lastSize = 0;
  /** of all together, */
  totalBytes = 0;
  /** and of the header of each, up to the payload; 0 where the packet stayed one piece. */
  headerLength = 0;

  readonly #view: DataView;
  readonly #checksum: Checksum;
  readonly #template: number;
  readonly #headers: number;
  #used = 0;

  constructor(arena: Arena, checksum: Checksum) {
    this.#view = arena.view;
    this.#checksum = checksum;
    this.#template = arena.reserve(MAX_HEADER);
    this.#headers = arena.reserve(2 * MOST_HEADERS);
  }

  /** Whether there is memory for the headers of any one packet. */
  get hasRoom(): boolean {
    return this.#used <= MOST_HEADERS;
  }

  /** Forgets all headers; their packets must have been sent. */
  clear(): void {
    this.#used = 0;
  }

  /**
   * Names the pieces of all datagrams in order: header, payload, header, payload, …; or the whole packet as one.
   * Nothing is named, and the packet is as it was, if there is a fault.
   */
  segment(packet: IpPacket, header: VirtioHeader, sink: PieceSink): SegmentFault {
    switch (header.gsoType & ~VIRTIO_GSO_ECN) {
      case VIRTIO_GSO_NONE:
        return this.#whole(packet, header, sink);
      case VIRTIO_GSO_TCP4:
        if (packet.version !== 4 || packet.protocol !== TCP) return SegmentFault.badKind;
        break;
      case VIRTIO_GSO_TCP6:
        if (packet.version !== 6 || packet.protocol !== TCP) return SegmentFault.badKind;
        break;
      case VIRTIO_GSO_UDP:
        if (packet.protocol !== UDP) return SegmentFault.badKind;
        break;
      default:
        return SegmentFault.badKind;
    }
    return packet.isFragment ? SegmentFault.badKind : this.#split(packet, header, sink);
  }

  #whole(packet: IpPacket, header: VirtioHeader, sink: PieceSink): SegmentFault {
    if ((header.flags & VIRTIO_NEEDS_CHECKSUM) !== 0) {
      const start = header.checksumStart;
      const field = start + header.checksumOffset;
      if (start < packet.headerLength || field + 2 > packet.length) return SegmentFault.badChecksumField;
      // The field holds the pseudo header's sum and is summed with the rest.
      const checksum = finish(this.#checksum.sum(packet.at + start, packet.length - start));
      this.#view.setUint16(packet.at + field, header.checksumOffset === UDP_CHECKSUM ? neverZero(checksum) : checksum);
    }
    this.count = 1;
    this.segmentSize = packet.length;
    this.lastSize = packet.length;
    this.totalBytes = packet.length;
    this.headerLength = 0;
    sink.piece(packet.at, packet.length);
    return SegmentFault.none;
  }

  #split(packet: IpPacket, header: VirtioHeader, sink: PieceSink): SegmentFault {
    const isTcp = packet.protocol === TCP;
    const transportHeader = this.#transportHeader(packet, isTcp);
    const headerLength = packet.headerLength + transportHeader;
    if (transportHeader === 0 || headerLength > MAX_HEADER) return SegmentFault.badTransportHeader;
    const needsChecksum = (header.flags & VIRTIO_NEEDS_CHECKSUM) !== 0;
    if (
      needsChecksum &&
      (header.checksumStart !== packet.headerLength || header.checksumOffset !== (isTcp ? TCP_CHECKSUM : UDP_CHECKSUM))
    )
      return SegmentFault.badChecksumField;
    const size = header.gsoSize;
    const payload = packet.length - headerLength;
    if (size === 0) return SegmentFault.badSegmentSize;
    if (payload <= size) return this.#whole(packet, header, sink);
    const count = ((payload + size - 1) / size) | 0;
    if (count > MAX_SEGMENTS) return SegmentFault.tooManySegments;
    if (this.#used + count * headerLength > 2 * MOST_HEADERS) return SegmentFault.noRoom;

    this.count = count;
    this.headerLength = headerLength;
    this.segmentSize = headerLength + size;
    this.lastSize = headerLength + payload - (count - 1) * size;
    this.totalBytes = count * headerLength + payload;
    const pseudo = this.#pseudoSum(packet, isTcp, needsChecksum);
    this.#copy(packet.at, this.#template, headerLength);
    if (isTcp) this.#splitTcp(packet, payload, size, pseudo, sink);
    else this.#splitUdp(packet, payload, size, pseudo, sink);
    return SegmentFault.none;
  }

  /** @returns its bytes; 0 if it is not all there */
  #transportHeader(packet: IpPacket, isTcp: boolean): number {
    const most = packet.transportLength;
    if (!isTcp) return most < UDP_HEADER_SIZE ? 0 : UDP_HEADER_SIZE;
    if (most < TCP_HEADER_SIZE) return 0;
    const length = (this.#view.getUint8(packet.transportAt + TCP_DATA_OFFSET) >>> 4) << 2;
    return length < TCP_HEADER_SIZE || length > most ? 0 : length;
  }

  /** The sum of the pseudo header without its length, which differs between segments. */
  #pseudoSum(packet: IpPacket, isTcp: boolean, isInPacket: boolean): number {
    if (!isInPacket) return this.#checksum.pseudoHeader(packet.sourceAt, packet.addressLength << 1, packet.protocol, 0);
    // What the kernel wrote counts: with a routing header the last destination is not the one in front. It has the length in it.
    const field = this.#view.getUint16(packet.transportAt + (isTcp ? TCP_CHECKSUM : UDP_CHECKSUM));
    return field + (~packet.transportLength & 0xffff);
  }

  #splitTcp(packet: IpPacket, payload: number, size: number, pseudo: number, sink: PieceSink): void {
    const view = this.#view;
    const template = this.#template;
    const { headerLength } = this;
    const toTransport = packet.headerLength;
    const sequence = view.getInt32(packet.transportAt + TCP_SEQUENCE);
    const flags = view.getUint8(packet.transportAt + TCP_FLAGS);
    view.setInt32(template + toTransport + TCP_SEQUENCE, 0);
    view.setUint8(template + toTransport + TCP_FLAGS, 0);
    view.setUint16(template + toTransport + TCP_CHECKSUM, 0);
    const transportHeader = headerLength - toTransport;
    const transportSum = pseudo + this.#checksum.sum(template + toTransport, transportHeader);
    const ipSum = this.#prepareIp(packet);

    for (let done = 0, index = 0; done < payload; done += size, index++) {
      const isLast = payload - done <= size;
      const length = isLast ? payload - done : size;
      const payloadAt = packet.at + headerLength + done;
      const at = this.#header();
      this.#writeIp(packet, at, index, headerLength + length, ipSum);
      const transportAt = at + toTransport;
      const here = (sequence + done) | 0;
      const hereFlags = flags & (index === 0 ? 0xff : ~TCP_CWR) & (isLast ? 0xff : ~(TCP_FIN | TCP_PSH));
      view.setInt32(transportAt + TCP_SEQUENCE, here);
      view.setUint8(transportAt + TCP_FLAGS, hereFlags);
      const changed = (here >>> 16) + (here & 0xffff) + hereFlags + transportHeader + length;
      const sum = transportSum + changed + this.#checksum.sum(payloadAt, length);
      view.setUint16(transportAt + TCP_CHECKSUM, finish(sum));
      sink.piece(at, headerLength);
      sink.piece(payloadAt, length);
    }
  }

  #splitUdp(packet: IpPacket, payload: number, size: number, pseudo: number, sink: PieceSink): void {
    const view = this.#view;
    const template = this.#template;
    const { headerLength } = this;
    const toTransport = packet.headerLength;
    view.setInt32(template + toTransport + UDP_LENGTH, 0); // and the checksum
    const transportSum = pseudo + this.#checksum.sum(template + toTransport, UDP_HEADER_SIZE);
    const ipSum = this.#prepareIp(packet);

    for (let done = 0, index = 0; done < payload; done += size, index++) {
      const length = Math.min(size, payload - done);
      const payloadAt = packet.at + headerLength + done;
      const at = this.#header();
      this.#writeIp(packet, at, index, headerLength + length, ipSum);
      const udpLength = UDP_HEADER_SIZE + length;
      view.setUint16(at + toTransport + UDP_LENGTH, udpLength);
      // The length counts twice: in the header and in the pseudo header.
      const sum = transportSum + (udpLength << 1) + this.#checksum.sum(payloadAt, length);
      view.setUint16(at + toTransport + UDP_CHECKSUM, neverZero(finish(sum)));
      sink.piece(at, headerLength);
      sink.piece(payloadAt, length);
    }
  }

  /** Zeroes in the template what differs between segments. @returns the sum of IPv4's header */
  #prepareIp(packet: IpPacket): number {
    if (packet.version === 6) return 0;
    this.#view.setInt32(this.#template + IPV4_TOTAL_LENGTH, 0); // and the id
    this.#view.setUint16(this.#template + IPV4_CHECKSUM, 0);
    return this.#checksum.sum(this.#template, packet.headerLength);
  }

  /** A copy of the template. */
  #header(): number {
    const at = this.#headers + this.#used;
    this.#copy(this.#template, at, this.headerLength);
    this.#used += this.headerLength;
    return at;
  }

  #writeIp(packet: IpPacket, at: number, index: number, length: number, sum: number): void {
    const view = this.#view;
    if (packet.version === 6) {
      view.setUint16(at + IPV6_PAYLOAD_LENGTH, length - IPV6_HEADER_SIZE);
      return;
    }
    const first = view.getUint16(packet.at + IPV4_ID);
    // An id of 0 that must not be fragmented is no id (RFC 6864 §4.1): the coalescer merges packets that all have it.
    const isFixed = first === 0 && (view.getUint16(packet.at + IPV4_FRAGMENT) & IPV4_DONT_FRAGMENT) !== 0;
    const id = isFixed ? 0 : (first + index) & 0xffff;
    view.setUint16(at + IPV4_TOTAL_LENGTH, length);
    view.setUint16(at + IPV4_ID, id);
    view.setUint16(at + IPV4_CHECKSUM, finish(sum + length + id));
  }

  /** Headers are some words; a call to copy them would cost more. */
  #copy(from: number, to: number, length: number): void {
    const view = this.#view;
    for (let offset = 0; offset < length; offset += 4)
      view.setInt32(to + offset, view.getInt32(from + offset, true), true);
  }
}
