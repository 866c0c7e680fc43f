import { LITTLE_ENDIAN } from "../wire/writer.ts";

/**
 * Classic BPF: a small program by which the kernel decides, before a socket gets a message, whether it gets it. linux/filter.h. Only
 * little-endian machines, as all of kernel/.
 */
export const LOAD_32 = 0x20;
export const LOAD_16 = 0x28;
export const LOAD_8 = 0x30;
export const GO_ON = 0x05;
export const IF_EQUAL = 0x15;
export const IF_GREATER = 0x25;
export const IF_AT_LEAST = 0x35;
export const IF_ANY_BIT = 0x45;
export const RETURN = 0x06;

/** What {@link RETURN} says: how much of the message the socket gets. */
export const ALL = 0xffff_ffff;
export const NOTHING = 0;

/** The most instructions of a program: BPF_MAXINSNS. */
export const MOST_INSTRUCTIONS = 4096;

/** A condition tells how many instructions it leaves out where it is true and where it is not, 255 at most; {@link GO_ON} leaves out `k`. */
export type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, k: number];

/** `struct sock_filter[]` */
export function encodeInstructions(program: readonly Instruction[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(program.length * 8));
  for (const [index, [code, ifTrue, ifFalse, k]] of program.entries()) {
    view.setUint16(index * 8, code, LITTLE_ENDIAN);
    view.setUint8(index * 8 + 2, ifTrue);
    view.setUint8(index * 8 + 3, ifFalse);
    view.setUint32(index * 8 + 4, k, LITTLE_ENDIAN);
  }
  return new Uint8Array(view.buffer);
}
