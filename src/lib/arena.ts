/** Where the next piece is taken from. Sized once: views of memory that grows would go stale. */
const PAGE = 65_536;

/**
 * Memory of a fixed size and place: system calls are given addresses in it, WebAssembly computes in it, and everybody names what lies
 * in it by offset. Typed arrays of their own will not do: V8 may keep small ones on its heap and move them.
 */
export class Arena {
  readonly memory: WebAssembly.Memory;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** The same memory as 32-bit words in the machine's order; index by `offset >> 2`. */
  readonly words: Int32Array;
  #used = PAGE; // nothing useful lies at offset 0, so that 0 can mean none

  /** @param size in bytes, rounded up to 64 KiB */
  constructor(size: number) {
    const pages = Math.ceil(size / PAGE) + 1;
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    const { buffer } = this.memory;
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.words = new Int32Array(buffer);
  }

  /**
   * Sets zeroed bytes aside for good.
   * @param alignment a power of two
   * @returns their offset
   */
  reserve(size: number, alignment = 64): number {
    const at = Math.ceil(this.#used / alignment) * alignment;
    if (at + size > this.bytes.length)
      throw new Error(`arena: ${size} bytes asked for, ${this.bytes.length - at} left`);
    this.#used = at + size;
    return at;
  }
}
