import type { Writer } from "./writer.ts";

/** Bytes to read from, with the view made once. */
export interface Source {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

export function sourceOf(bytes: Uint8Array): Source {
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
}

/** How one kind of value is put into bytes. */
export interface Encoder<T> {
  write(writer: Writer, value: T): void;
}

/** How one kind of value stands in bytes. */
export interface Codec<T> extends Encoder<T> {
  /** Bytes it always takes; undefined if that varies. Whoever calls `read` has checked it. */
  readonly size: number | undefined;
  /** @throws {WireError} if the bytes from `start` to `end` are not one */
  read(source: Source, start: number, end: number): T;
}

/** A number of so many bytes, which can be set where room was made before. */
export interface NumberCodec extends Codec<number> {
  readonly size: number;
  set(view: DataView, at: number, value: number): void;
}

/** What a codec reads. */
export type ValueOf<C> = C extends { read(source: Source, start: number, end: number): infer T } ? T : never;
