// For tests only: sinks that remember, and segmentation the slow and obvious way, by code that shares nothing with what it tests.
import { readFileSync } from "node:fs";
import type { Arena } from "../../lib/arena.ts";
import { plainChecksum, plainSum, u16, u32 } from "../../wire/packet/packets.ts";
import type { PacketSink } from "./coalesce.ts";

/** What a TUN device reads or writes at once. */
export interface TunPacket {
  readonly header: Uint8Array;
  readonly packet: Uint8Array;
}

/** A packet that the kernel handed out, and what the kernel itself made of it one hop further: `test/packet/capture-packets.ts`. */
export interface CapturedPacket extends TunPacket {
  readonly name: string;
  readonly segments: readonly Uint8Array[];
}

export function readCaptured(): readonly CapturedPacket[] {
  const path = new URL("fixtures/superpackets.json", import.meta.url);
  const entries: { name: string; header: string; packet: string; segments: string[] }[] = JSON.parse(
    readFileSync(path, "utf8"),
  );
  const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, "hex"));
  return entries.map(({ name, header, packet, segments }) => ({
    name,
    header: bytes(header),
    packet: bytes(packet),
    segments: segments.map(bytes),
  }));
}

/** Copies the pieces it is given. */
export class Collector implements PacketSink {
  readonly pieces: Uint8Array[] = [];
  readonly packets: TunPacket[] = [];
  readonly #arena: Arena;

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  piece(at: number, length: number): void {
    if (length <= 0) throw new Error(`a piece of ${length} bytes`);
    this.pieces.push(this.#arena.bytes.slice(at, at + length));
  }

  end(): void {
    const [header = new Uint8Array(), ...rest] = this.pieces.splice(0);
    this.packets.push({ header, packet: join(rest) });
  }

  /** All that came since the last call, as one. */
  takeBytes(): Uint8Array {
    return join(this.pieces.splice(0));
  }
}

export function join(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** A virtio header, little-endian. */
export function virtio(flags: number, gsoType: number, gsoSize: number, start: number, offset: number): Uint8Array {
  const low = (value: number) => u16(value).toReversed();
  return Uint8Array.from([flags, gsoType, ...low(0), ...low(gsoSize), ...low(start), ...low(offset)]);
}

/** A whole packet as the kernel hands it to a device that segments: with the pseudo header's sum in place of the checksum. */
export function superpacket(whole: Uint8Array, gsoSize: number, gsoType?: number): TunPacket {
  const { transportAt, checksumAt, isTcp, isFour, pseudo } = dissect(whole);
  const type = gsoType ?? (isTcp ? (isFour ? 1 : 4) : 5);
  const packet = Uint8Array.from(whole);
  packet.set(u16(plainSum(pseudo(packet.length - transportAt))), transportAt + checksumAt);
  return { header: virtio(1, type, gsoSize, transportAt, checksumAt), packet };
}

/** The packets that a superpacket stands for, each whole. */
export function expand({ header, packet }: TunPacket): readonly Uint8Array[] {
  const little = (at: number) => (header[at] ?? 0) + 256 * (header[at + 1] ?? 0);
  const size = little(4);
  const needsChecksum = ((header[0] ?? 0) & 1) !== 0;
  if (header[1] === 0) {
    if (!needsChecksum) return [packet];
    const field = little(6) + little(8);
    const checksum = plainChecksum(packet.subarray(little(6)));
    const whole = Uint8Array.from(packet);
    whole.set(u16(little(8) === 6 && checksum === 0 ? 0xffff : checksum), field);
    return [whole];
  }
  const { payloadAt } = dissect(packet);
  const count = Math.ceil((packet.length - payloadAt) / size);
  return Array.from({ length: count }, (_, index) => segment(packet, size, index, count));
}

function segment(packet: Uint8Array, size: number, index: number, count: number): Uint8Array {
  const { payloadAt, transportAt, checksumAt, isTcp, isFour, pseudo } = dissect(packet);
  const payload = packet.subarray(payloadAt + index * size, payloadAt + (index + 1) * size);
  const bytes = Uint8Array.from([...packet.subarray(0, payloadAt), ...payload]);
  if (isFour) {
    const id = at16(packet, 4);
    const isFixed = id === 0 && (at16(packet, 6) & 0x4000) !== 0;
    bytes.set(u16(bytes.length), 2);
    bytes.set(u16(isFixed ? 0 : (id + index) % 0x1_0000), 4);
    bytes.set([0, 0], 10);
    bytes.set(u16(plainChecksum(bytes.subarray(0, transportAt))), 10);
  } else bytes.set(u16(bytes.length - 40), 4);
  if (isTcp) {
    const sequence = at16(packet, transportAt + 4) * 0x1_0000 + at16(packet, transportAt + 6);
    bytes.set(u32((sequence + index * size) % 0x1_0000_0000), transportAt + 4);
    let flags = bytes[transportAt + 13] ?? 0;
    if (index > 0) flags &= 0x7f; // CWR
    if (index < count - 1) flags &= 0xf6; // PSH, FIN
    bytes[transportAt + 13] = flags;
  } else bytes.set(u16(bytes.length - transportAt), transportAt + 4);
  bytes.set([0, 0], transportAt + checksumAt);
  const length = bytes.length - transportAt;
  const checksum = plainChecksum([...pseudo(length), ...bytes.subarray(transportAt)]);
  bytes.set(u16(!isTcp && checksum === 0 ? 0xffff : checksum), transportAt + checksumAt);
  return bytes;
}

function at16(bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) * 256 + (bytes[at + 1] ?? 0);
}

/** Without extension headers. */
function dissect(packet: Uint8Array) {
  const isFour = (packet[0] ?? 0) >> 4 === 4;
  const transportAt = isFour ? ((packet[0] ?? 0) & 15) * 4 : 40;
  const protocol = packet[isFour ? 9 : 6] ?? 0;
  const isTcp = protocol === 6;
  const payloadAt = transportAt + (isTcp ? ((packet[transportAt + 12] ?? 0) >> 4) * 4 : 8);
  const addresses = isFour ? packet.subarray(12, 20) : packet.subarray(8, 40);
  const pseudo = (length: number) => [...addresses, ...u16(length), 0, protocol];
  return { isFour, isTcp, transportAt, payloadAt, checksumAt: isTcp ? 16 : 6, pseudo };
}
