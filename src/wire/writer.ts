/** A growing buffer that messages are written into one after the other, in the byte order of the host unless a name says otherwise. */
export class Writer {
  bytes: Uint8Array<ArrayBuffer>;
  view: DataView<ArrayBuffer>;
  length = 0;

  constructor(capacity = 4096) {
    this.bytes = new Uint8Array(capacity);
    this.view = new DataView(this.bytes.buffer);
  }

  /** Forgets what was written and keeps the memory. */
  reset(): void {
    this.length = 0;
  }

  /** What was written; valid until the next write. */
  written(): Uint8Array<ArrayBuffer> {
    return this.bytes.subarray(0, this.length);
  }

  /** Takes `size` bytes, cleared, and tells where they begin. */
  skip(size: number): number {
    const start = this.take(size);
    const { bytes } = this;
    for (let index = start; index < start + size; index++) bytes[index] = 0;
    return start;
  }

  /** Fills up to a multiple of four, which netlink begins everything at. */
  align(): void {
    const rest = this.length & 3;
    if (rest !== 0) this.skip(4 - rest);
  }

  u8(value: number): void {
    const start = this.take(1);
    this.bytes[start] = value;
  }

  u16(value: number): void {
    const start = this.take(2);
    this.view.setUint16(start, value, LITTLE_ENDIAN);
  }

  u16be(value: number): void {
    const start = this.take(2);
    this.view.setUint16(start, value, false);
  }

  u32(value: number): void {
    const start = this.take(4);
    this.view.setUint32(start, value, LITTLE_ENDIAN);
  }

  u32be(value: number): void {
    const start = this.take(4);
    this.view.setUint32(start, value, false);
  }

  u64(value: bigint): void {
    const start = this.take(8);
    this.view.setBigUint64(start, value, LITTLE_ENDIAN);
  }

  u64be(value: bigint): void {
    const start = this.take(8);
    this.view.setBigUint64(start, value, false);
  }

  append(bytes: Uint8Array): void {
    const start = this.take(bytes.length);
    this.bytes.set(bytes, start);
  }

  /** Takes `size` bytes, whatever is in them. May make another `view`: take first, then use that. */
  take(size: number): number {
    const start = this.length;
    const end = start + size;
    if (end > this.bytes.length) this.#grow(end);
    this.length = end;
    return start;
  }

  #grow(needed: number): void {
    const larger = new Uint8Array(Math.max(needed, this.bytes.length * 2));
    larger.set(this.bytes);
    this.bytes = larger;
    this.view = new DataView(larger.buffer);
  }
}

/** Of this host. */
export const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
