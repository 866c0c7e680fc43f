import type { Arena } from "../../lib/arena.ts";
import { type Checksum, finish, fold } from "../../wire/packet/checksum.ts";
import {
  IPV4_CHECKSUM,
  IPV4_DONT_FRAGMENT,
  IPV4_FRAGMENT,
  IPV4_HEADER_SIZE,
  IPV4_ID,
  IPV4_TOTAL_LENGTH,
  IPV6_HEADER_SIZE,
  IPV6_PAYLOAD_LENGTH,
  TCP,
} from "../../wire/packet/ip-packet.ts";
import {
  TCP_ACKNOWLEDGEMENT,
  TCP_CHECKSUM,
  TCP_DATA_OFFSET,
  TCP_FLAGS,
  TCP_HEADER_SIZE,
  TCP_SEQUENCE,
  TCP_URGENT,
  TCP_WINDOW,
  UDP_CHECKSUM,
  UDP_LENGTH,
} from "../../wire/packet/transport.ts";
import {
  VIRTIO_GSO_TCP4,
  VIRTIO_GSO_TCP6,
  VIRTIO_GSO_UDP,
  VIRTIO_NEEDS_CHECKSUM,
  type VirtioHeader,
} from "../../wire/packet/virtio-header.ts";
import { MergeCandidate } from "./coalesce-candidate.ts";

/** The most segments of UDP that every kernel takes in one packet: UDP_MAX_SEGMENTS before Linux 6.9. */
const MAX_PIECES = 64;
const MAX_LENGTH = 65_535;

/** Packets of one flow that came one after the other and will be handed on as one. */
export class OpenFlow {
  /** Which flow: ports, and words that stand for the addresses. */
  ports = 0;
  source = 0;
  destination = 0;
  count = 0;
  readonly first: MergeCandidate;

  readonly #view: DataView;
  readonly #checksum: Checksum;
  /** Where each packet's payload begins and its length, but the first's: that begins at its IP header. */
  readonly #pieces = new Int32Array(2 * MAX_PIECES);
  #length = 0;
  #flags = 0;
  #id = 0;
  #idStep = 0;
  #isIntact = false;

  constructor(arena: Arena, checksum: Checksum) {
    this.#view = arena.view;
    this.#checksum = checksum;
    this.first = new MergeCandidate(arena, checksum);
  }

  /** Starts over with this packet alone. */
  open(candidate: MergeCandidate): void {
    this.first.copy(candidate);
    this.count = 1;
    this.#length = candidate.length;
    this.#flags = candidate.flags;
    this.#isIntact = false;
    this.#pieces[0] = candidate.at;
    this.#pieces[1] = candidate.length;
    if (candidate.version === 4) {
      this.#id = this.#view.getUint16(candidate.at + IPV4_ID);
      const mustNotFragment = (this.#view.getUint16(candidate.at + IPV4_FRAGMENT) & IPV4_DONT_FRAGMENT) !== 0;
      this.#idStep = mustNotFragment && this.#id === 0 ? 0 : 1; // as the segmenter would count
    }
  }

  /**
   * Adds a packet of this flow if that can be undone: if segmentation gives back the very same packets. Checksums are verified here,
   * the first packet's when a second one arrives: merged, a wrong one would become right.
   */
  append(candidate: MergeCandidate): boolean {
    if (!this.#follows(candidate) || !candidate.isIntact() || !this.#isFirstIntact()) return false;
    this.#pieces[2 * this.count] = candidate.payloadAt;
    this.#pieces[2 * this.count + 1] = candidate.payloadLength;
    this.count++;
    this.#length += candidate.payloadLength;
    this.#flags |= candidate.flags;
    return true;
  }

  /**
   * Adds a packet of the same length as the first, straight from where it was received, if it is the first one's twin: all the same but
   * for id, sequence number, checksums, and a TTL that is not decremented yet. Most packets of a large message are, and this is the
   * quickest way to know.
   */
  appendTwin(at: number): boolean {
    const { first } = this;
    if (
      this.#length + first.payloadLength > MAX_LENGTH ||
      this.count === MAX_PIECES ||
      !(first.version === 4 ? this.#isTwin4(at) : this.#isTwin6(at))
    )
      return false;
    const transportAt = at + first.transportAt - first.at;
    const view = this.#view;
    if (view.getInt32(transportAt) !== view.getInt32(first.transportAt)) return false; // ports
    if (!(first.protocol === TCP ? this.#isTwinTcp(transportAt) : this.#isTwinUdp(transportAt))) return false;
    const length = first.length - (first.transportAt - first.at);
    if (!this.#isFirstIntact()) return false;
    if (fold(this.#pseudo(length) + this.#checksum.sum(transportAt, length)) !== 0xffff) return false;
    this.#pieces[2 * this.count] = at + first.payloadAt - first.at;
    this.#pieces[2 * this.count + 1] = first.payloadLength;
    this.count++;
    this.#length += first.payloadLength;
    return true;
  }

  /** Whether there is no room for another of full size. */
  get isFull(): boolean {
    return this.count === MAX_PIECES || this.#length + this.first.payloadLength > MAX_LENGTH;
  }

  /** Whether nothing more can follow `last`, which was just added. */
  isComplete(last: MergeCandidate): boolean {
    return last.payloadLength < this.first.payloadLength || last.isLast || this.isFull;
  }

  pieceAt(index: number): number {
    return this.#pieces[2 * index] as number;
  }

  pieceLength(index: number): number {
    return this.#pieces[2 * index + 1] as number;
  }

  /** Makes the first packet's header the header of all, and says in `header` how to undo it. */
  merge(header: VirtioHeader): void {
    const view = this.#view;
    const { first } = this;
    const isTcp = first.protocol === TCP;
    const headerLength = first.transportAt - first.at;
    const transportLength = this.#length - headerLength;
    this.#mergeIp(first.at, first.version);
    if (isTcp) view.setUint8(first.transportAt + TCP_FLAGS, this.#flags);
    else view.setUint16(first.transportAt + UDP_LENGTH, transportLength);
    const checksumOffset = isTcp ? TCP_CHECKSUM : UDP_CHECKSUM;
    view.setUint16(first.transportAt + checksumOffset, fold(this.#pseudo(transportLength)));
    header.flags = VIRTIO_NEEDS_CHECKSUM;
    header.gsoType = isTcp ? (first.version === 4 ? VIRTIO_GSO_TCP4 : VIRTIO_GSO_TCP6) : VIRTIO_GSO_UDP;
    header.headerLength = first.payloadAt - first.at;
    header.gsoSize = first.payloadLength;
    header.checksumStart = headerLength;
    header.checksumOffset = checksumOffset;
  }

  #mergeIp(at: number, version: 4 | 6): void {
    const view = this.#view;
    if (version === 6) {
      view.setUint16(at + IPV6_PAYLOAD_LENGTH, this.#length - IPV6_HEADER_SIZE);
      return;
    }
    view.setUint16(at + IPV4_TOTAL_LENGTH, this.#length);
    view.setUint16(at + IPV4_CHECKSUM, 0);
    view.setUint16(at + IPV4_CHECKSUM, finish(this.#checksum.sum(at, IPV4_HEADER_SIZE)));
  }

  #pseudo(transportLength: number): number {
    const { at, version, protocol } = this.first;
    return version === 4
      ? this.#checksum.pseudoHeader(at + 12, 8, protocol, transportLength)
      : this.#checksum.pseudoHeader(at + 8, 32, protocol, transportLength);
  }

  #isTwin4(at: number): boolean {
    const view = this.#view;
    const first = this.first.at;
    return (
      view.getInt32(at) === view.getInt32(first) && // version, header length, TOS, total length
      view.getUint16(at + IPV4_ID) === ((this.#id + this.count * this.#idStep) & 0xffff) &&
      view.getUint16(at + IPV4_FRAGMENT) === view.getUint16(first + IPV4_FRAGMENT) &&
      view.getUint16(at + 8) === view.getUint16(first + 8) + 0x100 && // TTL, protocol
      view.getInt32(at + 12) === view.getInt32(first + 12) &&
      view.getInt32(at + 16) === view.getInt32(first + 16) &&
      this.#checksum.sum(at, IPV4_HEADER_SIZE) === 0xffff
    );
  }

  #isTwin6(at: number): boolean {
    const view = this.#view;
    const first = this.first.at;
    if (view.getInt32(at) !== view.getInt32(first)) return false; // version, traffic class, flow label
    if (view.getInt32(at + 4) !== view.getInt32(first + 4) + 1) return false; // payload length, next header, hop limit
    for (let offset = 8; offset < IPV6_HEADER_SIZE; offset += 4)
      if (view.getInt32(at + offset) !== view.getInt32(first + offset)) return false;
    return true;
  }

  #isTwinTcp(at: number): boolean {
    const view = this.#view;
    const first = this.first.transportAt;
    if (
      view.getInt32(at + TCP_SEQUENCE) !== this.#nextSequence() ||
      view.getInt32(at + TCP_ACKNOWLEDGEMENT) !== view.getInt32(first + TCP_ACKNOWLEDGEMENT) ||
      view.getInt32(at + TCP_DATA_OFFSET) !== view.getInt32(first + TCP_DATA_OFFSET) || // flags, window
      view.getUint16(at + TCP_URGENT) !== view.getUint16(first + TCP_URGENT)
    )
      return false;
    const options = this.first.payloadAt - first;
    for (let offset = TCP_HEADER_SIZE; offset < options; offset += 4)
      if (view.getInt32(at + offset) !== view.getInt32(first + offset)) return false;
    return true;
  }

  #isTwinUdp(at: number): boolean {
    const view = this.#view;
    return (
      view.getUint16(at + UDP_LENGTH) === view.getUint16(this.first.transportAt + UDP_LENGTH) &&
      view.getUint16(at + UDP_CHECKSUM) !== 0
    );
  }

  #nextSequence(): number {
    const { at, payloadAt, transportAt } = this.first;
    return (this.#view.getInt32(transportAt + TCP_SEQUENCE) + this.#length - (payloadAt - at)) | 0;
  }

  #isFirstIntact(): boolean {
    if (!this.#isIntact) this.#isIntact = this.first.isIntact();
    return this.#isIntact;
  }

  #follows(candidate: MergeCandidate): boolean {
    const { first } = this;
    return (
      candidate.payloadLength <= first.payloadLength &&
      this.#length + candidate.payloadLength <= MAX_LENGTH &&
      (candidate.version === 4 ? this.#followsIp4(candidate.at) : this.#followsIp6(candidate.at)) &&
      (candidate.protocol !== TCP || this.#followsTcp(candidate))
    );
  }

  #followsIp4(at: number): boolean {
    const view = this.#view;
    const first = this.first.at;
    return (
      view.getUint16(at) === view.getUint16(first) && // version, header length, TOS
      view.getInt32(at + 6) === view.getInt32(first + 6) && // DF, TTL, protocol
      view.getUint16(at + IPV4_ID) === ((this.#id + this.count * this.#idStep) & 0xffff)
    );
  }

  #followsIp6(at: number): boolean {
    const view = this.#view;
    const first = this.first.at;
    return (
      view.getInt32(at) === view.getInt32(first) && // version, traffic class, flow label
      view.getUint16(at + 6) === view.getUint16(first + 6) // next header, hop limit
    );
  }

  #followsTcp(candidate: MergeCandidate): boolean {
    const view = this.#view;
    const at = candidate.transportAt;
    const first = this.first.transportAt;
    if (
      view.getInt32(at + TCP_SEQUENCE) !== this.#nextSequence() ||
      view.getInt32(at + TCP_ACKNOWLEDGEMENT) !== view.getInt32(first + TCP_ACKNOWLEDGEMENT) ||
      view.getUint8(at + TCP_DATA_OFFSET) !== view.getUint8(first + TCP_DATA_OFFSET) ||
      view.getUint16(at + TCP_WINDOW) !== view.getUint16(first + TCP_WINDOW) ||
      view.getUint16(at + TCP_URGENT) !== view.getUint16(first + TCP_URGENT)
    )
      return false;
    const options = candidate.payloadAt - at;
    for (let offset = TCP_HEADER_SIZE; offset < options; offset += 4)
      if (view.getInt32(at + offset) !== view.getInt32(first + offset)) return false;
    return true;
  }
}
