import type { Writer } from "./writer.ts";

/** Bytes to read from, with the view made once. */
export interface Source {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

export function sourceOf(bytes: Uint8Array): Source {
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
}

/** How one kind of value stands in bytes. */
export interface Codec<T> {
  /** Bytes it always takes; undefined if that varies. Whoever calls `read` has checked it. */
  readonly size: number | undefined;
  write(writer: Writer, value: T): void;
  /** @throws {WireError} if the bytes from `start` to `end` are not one */
  read(source: Source, start: number, end: number): T;
}

export type ValueOf<C> = C extends Codec<infer T> ? T : never;
