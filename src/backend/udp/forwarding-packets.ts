import { encodeAddress, parseAddress } from "../../ip/address.ts";
import type { Arena } from "../../lib/arena.ts";
import { IpPacket } from "../../wire/packet/ip-packet.ts";

export interface PacketText {
  readonly from: string;
  readonly to: string;
  readonly protocol?: number;
  readonly ttl?: number;
  /** Flags and offset, as in the header. */
  readonly fragment?: number;
  readonly payload?: Uint8Array;
}

/** For tests: writes a plain IPv4 or IPv6 packet at `at`, without its header checksum, and points a cursor at it. */
export function putPacket(arena: Arena, at: number, text: PacketText): IpPacket {
  const { protocol = 17, ttl = 64, fragment = 0, payload = new Uint8Array(8) } = text;
  const [source, destination] = [encodeAddress(parseAddress(text.from)), encodeAddress(parseAddress(text.to))];
  const { bytes, view } = arena;
  const isIPv4 = source.length === 4;
  const size = isIPv4 ? 20 : 40;
  bytes.fill(0, at, at + size);
  if (isIPv4) {
    view.setUint8(at, 0x45);
    view.setUint16(at + 2, size + payload.length);
    view.setUint16(at + 6, fragment);
    bytes.set([ttl, protocol], at + 8);
  } else {
    view.setUint8(at, 0x60);
    view.setUint16(at + 4, payload.length);
    bytes.set([protocol, ttl], at + 6);
  }
  bytes.set([...source, ...destination], at + size - 2 * source.length);
  bytes.set(payload, at + size);
  const packet = new IpPacket(arena);
  const fault = packet.parse(at, size + payload.length);
  if (fault !== 0) throw new Error(`not a packet: fault ${fault}`);
  return packet;
}
