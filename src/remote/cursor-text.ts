import type { Cursor } from "../lease/lease.ts";
import { remembered } from "./remembered.ts";

/** A cursor as the API has it, taken apart. */
export interface CursorNumber {
  /** 0 in cursors that say nothing of the history they are of: 0.7.0's. */
  readonly epoch: bigint;
  readonly index: bigint;
}

/** Digits for the index: 10¹³ changes are a thousand a second for three hundred years. */
const INDEXES = 10n ** 13n;
/** As many as fit into the 64 bits that 0.7.0 reads a cursor into. */
const EPOCHS = 1_800_000;

/**
 * A cursor as one decimal number, which is what 0.7.0's programs expect. In front of the index stands an epoch made from the history's
 * name: after a restore the same index may mean something else.
 */
export function formatCursor({ history, index }: Cursor): string {
  return formatCursorNumber({ epoch: epochOf(history), index });
}

export function formatCursorNumber({ epoch, index }: CursorNumber): string {
  return String(epoch * INDEXES + index);
}

/** @throws {CursorSyntaxError} in the words of 0.7.0 */
export const parseCursor = remembered((text: string): CursorNumber => {
  if (!/^\d+$/.test(text)) throw new CursorSyntaxError(text, "invalid syntax");
  const number = BigInt(text);
  if (number >= 2n ** 64n) throw new CursorSyntaxError(text, "value out of range");
  return { epoch: number / INDEXES, index: number % INDEXES };
});

export class CursorSyntaxError extends Error {
  override readonly name = "CursorSyntaxError";

  constructor(text: string, reason: string) {
    super(`failed to parse cursor: strconv.ParseUint: parsing ${JSON.stringify(text)}: ${reason}`);
  }
}

/** FNV-1a, never 0. */
export const epochOf = remembered((history: string): bigint => {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(history)) hash = Math.imul(hash ^ byte, 0x01000193);
  return BigInt(1 + ((hash >>> 0) % EPOCHS));
});
