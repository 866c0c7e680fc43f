import type { Encoder, Source } from "./codec.ts";
import { i32, text, u32 } from "./codecs.ts";
import { attributes } from "./schema.ts";
import { WireError } from "./wire-error.ts";
import { LITTLE_ENDIAN, type Writer } from "./writer.ts";

// include/uapi/linux/netlink.h
export const NLMSG_NOOP = 1;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLMSG_OVERRUN = 4;

export const NLM_F_REQUEST = 0x1;
export const NLM_F_MULTI = 0x2;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_DUMP = 0x300;
/** Of requests that make something. */
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
/** Of errors. */
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;

/** Bytes of `struct nlmsghdr`. */
export const NETLINK_HEADER_SIZE = 16;

/** Address families as the kernel numbers them. */
export const AF_UNSPEC = 0;
export const AF_INET = 2;
export const AF_BRIDGE = 7;
export const AF_INET6 = 10;

/** Walks over the messages of one datagram; the fields tell of the message that `next` went to. */
export class MessageCursor {
  readonly source: Source;
  readonly #end: number;
  #next = 0;
  type = 0;
  flags = 0;
  sequence = 0;
  /** nlmsg_pid: the socket that caused it; 0 for the kernel itself. */
  port = 0;
  /** Where the body begins and ends. */
  start = 0;
  end = 0;

  constructor(source: Source, size: number) {
    this.source = source;
    this.#end = size;
  }

  /** @returns false after the last message. @throws {WireError} if a length leads outside */
  next(): boolean {
    const at = this.#next;
    if (at >= this.#end) return false;
    if (this.#end - at < NETLINK_HEADER_SIZE)
      throw new WireError(`${this.#end - at} bytes where a message should begin`);
    const { view } = this.source;
    const length = view.getUint32(at, LITTLE_ENDIAN);
    if (length < NETLINK_HEADER_SIZE || length > this.#end - at)
      throw new WireError(`a message of ${length} bytes in ${this.#end - at}`);
    this.type = view.getUint16(at + 4, LITTLE_ENDIAN);
    this.flags = view.getUint16(at + 6, LITTLE_ENDIAN);
    this.sequence = view.getUint32(at + 8, LITTLE_ENDIAN);
    this.port = view.getUint32(at + 12, LITTLE_ENDIAN);
    this.start = at + NETLINK_HEADER_SIZE;
    this.end = at + length;
    this.#next = at + ((length + 3) & ~3);
    return true;
  }
}

/** Writes one whole message, its length patched in afterwards. */
export function writeMessage<T>(
  writer: Writer,
  header: { readonly type: number; readonly flags: number; readonly sequence: number },
  codec: Encoder<T>,
  value: T,
): void {
  const start = beginMessage(writer, header.type, header.flags, header.sequence);
  codec.write(writer, value);
  endMessage(writer, start);
}

/** @returns what {@link endMessage} wants to know */
export function beginMessage(writer: Writer, type: number, flags: number, sequence: number): number {
  const start = writer.take(NETLINK_HEADER_SIZE);
  const { view } = writer;
  view.setUint16(start + 4, type, LITTLE_ENDIAN);
  view.setUint16(start + 6, flags, LITTLE_ENDIAN);
  view.setUint32(start + 8, sequence, LITTLE_ENDIAN);
  view.setUint32(start + 12, 0, LITTLE_ENDIAN);
  return start;
}

export function endMessage(writer: Writer, start: number): void {
  writer.view.setUint32(start, writer.length - start, LITTLE_ENDIAN);
  writer.align();
}

/** Has the kernel answer this message also if all is well. @param start what {@link beginMessage} returned */
export function requestAcknowledgement(writer: Writer, start: number): void {
  const flags = writer.view.getUint16(start + 6, LITTLE_ENDIAN);
  writer.view.setUint16(start + 6, flags | NLM_F_ACK, LITTLE_ENDIAN);
}

/** NLMSGERR_ATTR_* */
const ExtendedAck = attributes({ text: [1, text], offset: [2, u32], missingType: [5, u32], missingNest: [6, u32] });

/** The body of NLMSG_ERROR: `struct nlmsgerr`, which an acknowledgement is as well, with code 0. */
export interface Acknowledgement {
  /** An errno, positive; 0 for success. */
  readonly errno: number;
  /** The kernel's own words. */
  readonly text: string | undefined;
  /** Where in the request the attribute stands that it did not like. */
  readonly offset: number | undefined;
}

/** Bytes before the extended acknowledgement: an error code and the header of the request. */
const ERROR_SIZE = 4 + NETLINK_HEADER_SIZE;

/** @throws {WireError} if it is too short */
export function readAcknowledgement(cursor: MessageCursor): Acknowledgement {
  const { source, start, end, flags } = cursor;
  if (end - start < ERROR_SIZE) throw new WireError(`an error message of ${end - start} bytes`);
  const errno = -i32.read(source, start, start + 4);
  if ((flags & NLM_F_ACK_TLVS) === 0) return { errno: errno === 0 ? 0 : errno, text: undefined, offset: undefined };
  const echoed = (flags & NLM_F_CAPPED) === 0 ? source.view.getUint32(start + 4, LITTLE_ENDIAN) : NETLINK_HEADER_SIZE;
  const at = start + 4 + 4 * Math.ceil(echoed / 4); // not by bits, which would make large ones negative
  if (echoed < NETLINK_HEADER_SIZE || at > end)
    throw new WireError(`an error message that repeats ${echoed} bytes in ${end - start}`);
  const extended = ExtendedAck.read(source, at, end);
  return { errno: errno === 0 ? 0 : errno, text: extended.text, offset: extended.offset };
}

/** How a dump ended: the body of NLMSG_DONE is an errno, negative, or 0. */
export function readDone(cursor: MessageCursor): number {
  if (cursor.end - cursor.start < 4) return 0;
  return Math.abs(i32.read(cursor.source, cursor.start, cursor.start + 4));
}
