import type { Arena } from "../../lib/arena.ts";
import type { Checksum } from "../../wire/packet/checksum.ts";
import { type IpPacket, TCP, UDP } from "../../wire/packet/ip-packet.ts";
import { VIRTIO_HEADER_SIZE, VirtioHeader } from "../../wire/packet/virtio-header.ts";
import { MergeCandidate, type Merges } from "./coalesce-candidate.ts";
import { OpenFlow } from "./coalesce-flow.ts";
import type { PieceSink } from "./segment.ts";

/** Takes packets for the device, the pieces of one and then its end. */
export interface PacketSink extends PieceSink {
  /** The pieces since the last call are one packet. The memory they name is used anew once all have been flushed and received again. */
  end(): void;
}

/** Headers that stay as they are while later ones are written. */
const HEADERS = 64;
const HEADER_STRIDE = 16;

const PORTS_SIZE = 4;

const NOTHING: Merges = { tcp4: false, tcp6: false, udp4: false, udp6: false };

/**
 * Merges packets that follow one another in their flow, so that the device takes up to 64 KiB by one call. Several flows are open at
 * once; within a flow nothing overtakes anything, merged or not. What cannot be merged is handed on as it came.
 */
export class Coalescer {
  merges: Merges = NOTHING;
  /** Whether the device wants a virtio header before each packet; without one, nothing may be merged. */
  hasHeader = true;

  readonly #view: DataView;
  readonly #sink: PacketSink;
  readonly #candidate: MergeCandidate;
  /** Those that are open first, in the order of their opening. */
  readonly #flows: OpenFlow[];
  #open = 0;
  /** The flow that the last packet belongs to and is still open; undefined if it is not. */
  #latest: OpenFlow | undefined;
  readonly #header = new VirtioHeader();
  readonly #headers: number;
  readonly #emptyHeader: number;
  #nextHeader = 0;

  /** @param flows that may be open at once */
  constructor(arena: Arena, checksum: Checksum, sink: PacketSink, { flows = 16 } = {}) {
    this.#view = arena.view;
    this.#sink = sink;
    this.#candidate = new MergeCandidate(arena, checksum);
    this.#flows = Array.from({ length: flows }, () => new OpenFlow(arena, checksum));
    this.#headers = arena.reserve(HEADERS * HEADER_STRIDE);
    this.#emptyHeader = arena.reserve(VIRTIO_HEADER_SIZE);
  }

  /** Takes a packet that is to go to the device; its memory must stay as it is until `flush()`. */
  add(packet: IpPacket): void {
    this.#latest = undefined;
    const { protocol } = packet;
    const isPart = packet.isFragment || packet.transportLength < PORTS_SIZE;
    if (isPart) this.#closeBetween(packet); // which flow it belongs to, only its first part could say
    if (isPart || (protocol !== TCP && protocol !== UDP)) return this.#alone(packet);
    const ports = this.#view.getInt32(packet.transportAt);
    const source = this.#addressWord(packet, packet.sourceAt);
    const destination = this.#addressWord(packet, packet.destinationAt);
    const index = this.#find(packet, ports, source, destination);
    const candidate = this.#candidate;
    if (!candidate.read(packet, this.merges)) {
      if (index >= 0) this.#close(index);
      return this.#alone(packet);
    }
    if (index >= 0) {
      const flow = this.#flows[index] as OpenFlow;
      if (flow.append(candidate)) {
        if (flow.isComplete(candidate)) this.#close(index);
        else this.#latest = flow;
        return;
      }
      this.#close(index);
    }
    if (candidate.isLast) return this.#alone(packet);
    if (this.#open === this.#flows.length) this.#close(0);
    const flow = this.#flows[this.#open++] as OpenFlow;
    flow.ports = ports;
    flow.source = source;
    flow.destination = destination;
    flow.open(candidate);
    this.#latest = flow;
  }

  /**
   * Takes packets that lie one after the other behind the one that was added last, as long as they are the same but for what counts up.
   * Their TTL is as it was received.
   * @param size bytes of each
   * @returns how many were taken, mostly all; the next one is to be added by itself
   */
  addTwins(at: number, end: number, size: number): number {
    const flow = this.#latest;
    if (flow === undefined || flow.first.length !== size) return 0;
    let taken = 0;
    while (at + size <= end && flow.appendTwin(at)) {
      taken++;
      at += size;
    }
    if (flow.isFull) {
      this.#latest = undefined;
      this.#close(this.#flows.indexOf(flow));
    }
    return taken;
  }

  /** Hands on all that is held back. */
  flush(): void {
    while (this.#open > 0) this.#close(0);
  }

  /** @returns the place among the open flows, or -1 */
  #find(packet: IpPacket, ports: number, source: number, destination: number): number {
    // The youngest first: packets of a flow come in a row.
    for (let index = this.#open - 1; index >= 0; index--) {
      const flow = this.#flows[index] as OpenFlow;
      if (
        flow.ports === ports &&
        flow.source === source &&
        flow.destination === destination &&
        flow.first.protocol === packet.protocol &&
        flow.first.version === packet.version &&
        (packet.version === 4 || this.#hasAddresses(flow, packet))
      )
        return index;
    }
    return -1;
  }

  /** An IPv4 address, or a word that stands for an IPv6 one. */
  #addressWord(packet: IpPacket, at: number): number {
    const view = this.#view;
    if (packet.version === 4) return view.getInt32(at);
    return view.getInt32(at) ^ view.getInt32(at + 4) ^ view.getInt32(at + 8) ^ view.getInt32(at + 12);
  }

  #hasAddresses(flow: OpenFlow, packet: IpPacket): boolean {
    const view = this.#view;
    const theirs = flow.first.at + 8;
    for (let offset = 0; offset < 32; offset += 4)
      if (view.getInt32(theirs + offset) !== view.getInt32(packet.sourceAt + offset)) return false;
    return true;
  }

  /** Closes what is open between the same two addresses; that others, by chance, are closed too does no harm. */
  #closeBetween(packet: IpPacket): void {
    const source = this.#addressWord(packet, packet.sourceAt);
    const destination = this.#addressWord(packet, packet.destinationAt);
    for (let index = 0; index < this.#open; ) {
      const flow = this.#flows[index] as OpenFlow;
      if (flow.source === source && flow.destination === destination) this.#close(index);
      else index++;
    }
  }

  #close(index: number): void {
    const flows = this.#flows;
    const flow = flows[index] as OpenFlow;
    this.#open--;
    for (let place = index; place < this.#open; place++) flows[place] = flows[place + 1] as OpenFlow;
    flows[this.#open] = flow;
    if (flow.count === 1) return this.#emit(flow.first.at, flow.first.length);
    const header = this.#headers + this.#nextHeader * HEADER_STRIDE;
    this.#nextHeader = (this.#nextHeader + 1) % HEADERS;
    flow.merge(this.#header);
    this.#header.write(this.#view, header);
    const sink = this.#sink;
    sink.piece(header, VIRTIO_HEADER_SIZE);
    for (let piece = 0; piece < flow.count; piece++) sink.piece(flow.pieceAt(piece), flow.pieceLength(piece));
    sink.end();
  }

  #alone(packet: IpPacket): void {
    this.#emit(packet.at, packet.length);
  }

  #emit(at: number, length: number): void {
    const sink = this.#sink;
    if (this.hasHeader) sink.piece(this.#emptyHeader, VIRTIO_HEADER_SIZE);
    sink.piece(at, length);
    sink.end();
  }
}

export type { Merges } from "./coalesce-candidate.ts";
