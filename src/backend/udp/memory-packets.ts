// Packets for hosts in memory, in the tests of the packet path.
import { ip4, payload, udp } from "../../wire/packet/packets.ts";
import type { MemoryHost } from "./memory-host.ts";
import { expand, join, superpacket, virtio } from "./superpackets.ts";

export const PLAIN = virtio(0, 0, 0, 0, 0);
/** Compared quicker than arrays. */
export const hex = (packets: readonly Uint8Array[]) => packets.map((bytes) => Buffer.from(bytes).toString("hex"));
export const bare = (packet: Uint8Array) => join([PLAIN, packet]);
export const asRead = (whole: Uint8Array, gsoSize: number) => {
  const { header, packet } = superpacket(whole, gsoSize);
  return join([header, packet]);
};

/** What the kernel of a host was given, each packet whole, without their hop between. */
export const written = (host: MemoryHost) =>
  host.tun.written.flatMap((bytes) => expand({ header: bytes.subarray(0, 10), packet: bytes.subarray(10) }));

export const between = (from: number, to: number) => ({ source: `10.5.${from}.1`, destination: `10.5.${to}.2` });

/** A packet of this host to another, told apart by its number. */
export const small = (from: number, to: number, number: number, size = 40, ttl = 64) =>
  ip4(udp([number >> 8, number & 255, ...payload(size, number)]), { ...between(from, to), id: number, ttl });
/** The number that `small` gave it. */
export const numberOf = (packet: Uint8Array) => (packet[28] ?? 0) * 256 + (packet[29] ?? 0);
