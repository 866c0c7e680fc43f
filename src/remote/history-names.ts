import type { Cursor } from "../lease/lease.ts";
import { epochOf, formatCursor, formatCursorNumber, parseCursor } from "./cursor-text.ts";

/** What a client calls the history behind a server of 0.7.0, which does not name it. */
const NAMELESS = "flannel server";

/**
 * A server's cursor with the name of the history it is of: the store's own name where the server told it, so that it is the same
 * whether a host asks the store or a server before it.
 */
export function readCursor(text: string, store: string | undefined): Cursor {
  const { epoch, index } = parseCursor(text);
  if (epoch === 0n) return { history: store ?? NAMELESS, index };
  const isNamed = store !== undefined && epochOf(store) === epoch;
  return { history: isNamed ? store : `${store ?? NAMELESS}#${epoch}`, index };
}

/** The text for the server, or undefined if it would not understand it. @param isExtended whether the server knows epochs */
export function writeCursor({ history, index }: Cursor, isExtended: boolean): string | undefined {
  if (!isExtended) return history === NAMELESS ? String(index) : undefined;
  const epoch = /#(\d{1,7})$/.exec(history)?.[1];
  return epoch === undefined ? formatCursor({ history, index }) : formatCursorNumber({ epoch: BigInt(epoch), index });
}
