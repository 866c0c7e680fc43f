import type { Arena } from "../../lib/arena.ts";
import { sumShort, updateChecksum } from "./checksum.ts";

/** Why bytes are not an IP packet; 0 says that they are. Numbers, since one is returned for each packet. */
export const PacketFault = {
  none: 0,
  tooShort: 1,
  badVersion: 2,
  badHeaderLength: 3,
  /** The packet says that it is longer than what arrived, or shorter than its own header. */
  badTotalLength: 4,
} as const;
export type PacketFault = (typeof PacketFault)[keyof typeof PacketFault];

/** Protocol numbers. */
export const ICMP = 1;
export const TCP = 6;
export const UDP = 17;
export const ICMP6 = 58;

export const IPV4_HEADER_SIZE = 20;
export const IPV6_HEADER_SIZE = 40;

/** Where fields lie in an IPv4 header. RFC 791 §3.1. */
export const IPV4_TOTAL_LENGTH = 2;
export const IPV4_ID = 4;
/** Three flags and the fragment's offset in units of 8 bytes. */
export const IPV4_FRAGMENT = 6;
export const IPV4_DONT_FRAGMENT = 0x4000;
export const IPV4_CHECKSUM = 10;
const IPV4_MORE_FRAGMENTS = 0x2000;
const IPV4_TTL = 8;

/** Where fields lie in an IPv6 header. RFC 8200 §3. */
export const IPV6_PAYLOAD_LENGTH = 4;
const IPV6_NEXT_HEADER = 6;
const IPV6_HOP_LIMIT = 7;

/**
 * A packet where it lies in the arena. One object is pointed at one packet after the other; what it tells belongs to the last that
 * was parsed.
 */
export class IpPacket {
  readonly #view: DataView;
  at = 0;
  version: 4 | 6 = 4;
  /** Bytes before the transport header: with IPv4's options or IPv6's extension headers. */
  headerLength = 0;
  /** Bytes of the whole packet, by its own header; what follows in the datagram is not part of it. */
  length = 0;
  /** Of the transport header: TCP, UDP, …; the extension header where the chain could not be followed. */
  protocol = 0;
  /** IPv6's hop limit likewise. */
  ttl = 0;
  /** Whether this is a part of a packet only. */
  isFragment = false;
  /** Whether the transport header is in here: a whole packet or the first fragment. */
  isFirstFragment = true;
  sourceAt = 0;
  destinationAt = 0;
  transportAt = 0;

  constructor(arena: Arena) {
    this.#view = arena.view;
  }

  /** @param length of the datagram, which may be longer than the packet */
  parse(at: number, length: number): PacketFault {
    if (length < IPV4_HEADER_SIZE) return PacketFault.tooShort;
    const first = this.#view.getUint8(at);
    if (first >>> 4 === 4) return this.#parse4(at, length, (first & 0xf) << 2);
    if (first >>> 4 === 6) return this.#parse6(at, length);
    return PacketFault.badVersion;
  }

  /** Where the packet ends. */
  get end(): number {
    return this.at + this.length;
  }

  /** Bytes of the transport header and its payload. */
  get transportLength(): number {
    return this.length - this.headerLength;
  }

  /** Bytes of an address. */
  get addressLength(): 4 | 16 {
    return this.version === 4 ? 4 : 16;
  }

  /** The IPv4 source address, unsigned. */
  get source(): number {
    return this.#view.getUint32(this.sourceAt);
  }

  /** The IPv4 destination address, unsigned. */
  get destination(): number {
    return this.#view.getUint32(this.destinationAt);
  }

  /** Whether IPv4's header checksum is right; IPv6 has none. */
  isHeaderIntact(): boolean {
    return this.version === 6 || sumShort(this.#view, this.at, this.headerLength) === 0xffff;
  }

  /** @returns false, and changes nothing, if the packet has come to its end */
  decrementTtl(): boolean {
    if (this.ttl <= 1) return false;
    this.ttl--;
    if (this.version === 6) {
      this.#view.setUint8(this.at + IPV6_HOP_LIMIT, this.ttl);
      return true;
    }
    // The checksum covers the TTL as the upper half of a number; an error in it stays one.
    const before = this.#view.getUint16(this.at + IPV4_TTL);
    const checksum = this.#view.getUint16(this.at + IPV4_CHECKSUM);
    this.#view.setUint8(this.at + IPV4_TTL, this.ttl);
    this.#view.setUint16(this.at + IPV4_CHECKSUM, updateChecksum(checksum, before, before - 0x100));
    return true;
  }

  #parse4(at: number, length: number, headerLength: number): PacketFault {
    if (headerLength < IPV4_HEADER_SIZE || headerLength > length) return PacketFault.badHeaderLength;
    const view = this.#view;
    const total = view.getUint16(at + IPV4_TOTAL_LENGTH);
    if (total < headerLength || total > length) return PacketFault.badTotalLength;
    const fragment = view.getUint16(at + IPV4_FRAGMENT) & ~(IPV4_DONT_FRAGMENT | 0x8000);
    this.at = at;
    this.version = 4;
    this.headerLength = headerLength;
    this.length = total;
    this.ttl = view.getUint8(at + IPV4_TTL);
    this.protocol = view.getUint8(at + 9);
    this.isFragment = fragment !== 0;
    this.isFirstFragment = (fragment & ~IPV4_MORE_FRAGMENTS) === 0;
    this.sourceAt = at + 12;
    this.destinationAt = at + 16;
    this.transportAt = at + headerLength;
    return PacketFault.none;
  }

  #parse6(at: number, length: number): PacketFault {
    if (length < IPV6_HEADER_SIZE) return PacketFault.tooShort;
    const view = this.#view;
    const total = IPV6_HEADER_SIZE + view.getUint16(at + IPV6_PAYLOAD_LENGTH);
    if (total > length) return PacketFault.badTotalLength;
    this.at = at;
    this.version = 6;
    this.headerLength = IPV6_HEADER_SIZE;
    this.length = total;
    this.ttl = view.getUint8(at + IPV6_HOP_LIMIT);
    this.protocol = view.getUint8(at + IPV6_NEXT_HEADER);
    this.isFragment = false;
    this.isFirstFragment = true;
    this.sourceAt = at + 8;
    this.destinationAt = at + 24;
    this.transportAt = at + IPV6_HEADER_SIZE;
    return isExtension(this.protocol) ? this.#skipExtensions() : PacketFault.none;
  }

  /** RFC 8200 §4. What follows a fragment header that is not the first's is payload, whatever it looks like. */
  #skipExtensions(): PacketFault {
    const view = this.#view;
    let next = this.protocol;
    let at = this.transportAt;
    while (isExtension(next) && this.isFirstFragment) {
      if (this.end - at < 8) return PacketFault.badHeaderLength;
      const size = extensionSize(next, view.getUint8(at + 1));
      if (this.end - at < size) return PacketFault.badHeaderLength;
      if (next === FRAGMENT) {
        const offset = view.getUint16(at + 2) & 0xfff9; // and the flag of more to come; two bits between are reserved
        this.isFragment = offset !== 0; // RFC 6946: one fragment may be all
        this.isFirstFragment = (offset & ~1) === 0;
      }
      next = view.getUint8(at);
      at += size;
    }
    this.protocol = next;
    this.transportAt = at;
    this.headerLength = at - this.at;
    return PacketFault.none;
  }
}

const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const AUTHENTICATION = 51;
const DESTINATION_OPTIONS = 60;

function isExtension(protocol: number): boolean {
  return (
    protocol === HOP_BY_HOP ||
    protocol === ROUTING ||
    protocol === FRAGMENT ||
    protocol === AUTHENTICATION ||
    protocol === DESTINATION_OPTIONS
  );
}

/** @param length as its second byte has it: further units of 8 bytes, but of 4 after 8 for the authentication header (RFC 4302 §2.2) */
function extensionSize(protocol: number, length: number): number {
  if (protocol === FRAGMENT) return 8;
  return protocol === AUTHENTICATION ? (length + 2) * 4 : (length + 1) * 8;
}
