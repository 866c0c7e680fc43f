import type { Arena } from "../../lib/arena.ts";
import { checksumModule } from "./checksum-module.ts";

/** Below this many bytes plain script is as quick as the call into WebAssembly. */
const SHORT = 32;

/**
 * The Internet checksum of packets in one arena, RFC 1071. A sum is a number in network order that any further 16-bit numbers may be
 * added to; `fold()` brings it back to 16 bits and `finish()` makes it the field's value.
 */
export class Checksum {
  readonly #view: DataView;
  readonly #long: (at: number, length: number) => number;

  constructor(arena: Arena) {
    this.#view = arena.view;
    const module = new WebAssembly.Module(checksumModule());
    const { exports } = new WebAssembly.Instance(module, { arena: { memory: arena.memory } });
    this.#long = exports["run"] as (at: number, length: number) => number;
  }

  /** The sum of these bytes, 16 bits; 0 only if all of them are 0. An odd last byte counts as if a zero followed. */
  sum(at: number, length: number): number {
    return length < SHORT ? sumShort(this.#view, at, length) : this.#long(at, length);
  }

  /**
   * The sum of TCP's or UDP's pseudo header over IPv4 or IPv6, unfolded. RFC 9293 §3.1, RFC 8200 §8.1.
   * @param addressesAt where the source address lies, followed by the destination address
   * @param addressesLength 8 or 32 bytes
   * @param length of the transport header and its payload, up to 65,535
   */
  pseudoHeader(addressesAt: number, addressesLength: number, protocol: number, length: number): number {
    if (addressesLength > 8) return this.#long(addressesAt, addressesLength) + protocol + length;
    const source = this.#view.getInt32(addressesAt);
    const destination = this.#view.getInt32(addressesAt + 4);
    return (source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff) + protocol + length;
  }
}

/** What `Checksum.sum()` says, in plain script: the quickest for a header. Up to 64 KiB. */
export function sumShort(view: DataView, at: number, length: number): number {
  const end = at + length;
  let sum = 0;
  for (; at + 4 <= end; at += 4) {
    const word = view.getInt32(at);
    sum += (word >>> 16) + (word & 0xffff);
  }
  if (at + 2 <= end) {
    sum += view.getUint16(at);
    at += 2;
  }
  if (at < end) sum += view.getUint8(at) << 8;
  return fold(sum);
}

/** A sum, or several added, as 16 bits. @param sum below 2^31 */
export function fold(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

/** A checksum field's value for a sum. UDP must pass it through `neverZero()`. */
export function finish(sum: number): number {
  return ~fold(sum) & 0xffff;
}

/** UDP writes 0xffff for 0, which says that there is no checksum. RFC 768. */
export function neverZero(checksum: number): number {
  return checksum === 0 ? 0xffff : checksum;
}

/** The checksum after a 16-bit number that it covers has changed. RFC 1624 eqn. 3. */
export function updateChecksum(checksum: number, before: number, after: number): number {
  return finish((~checksum & 0xffff) + (~before & 0xffff) + after);
}
