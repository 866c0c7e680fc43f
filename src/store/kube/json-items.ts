const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;

/** Larger than the API lets any object become (1.5 MiB in its store), with room. */
export const MOST_ITEM_BYTES = 8 * 1024 * 1024;
const MOST_ENVELOPE_BYTES = 64 * 1024;

/**
 * Cuts the objects out of a JSON list's `items` while it arrives, so that a page of five hundred nodes is never in memory as a whole,
 * neither as text nor parsed. Nothing is checked here: each piece is parsed by itself, and so is what stands around them.
 */
export class JsonItems {
  readonly #onItem: (json: Buffer) => void;
  readonly #onItems: ((head: string) => void) | undefined;
  readonly #envelope: Buffer[] = [];
  #envelopeSize = 0;
  #item: Buffer[] = [];
  #itemSize = 0;
  #depth = 0;
  #isInItems = false;
  #isInItem = false;
  #isInString = false;
  #isEscaped = false;

  /**
   * @param onItem called with each object in the order of the list; the bytes are its own only until it returns
   * @param onItems called where the objects begin, with what stands before them, made a whole object
   */
  constructor(onItem: (json: Buffer) => void, onItems?: (head: string) => void) {
    this.#onItem = onItem;
    this.#onItems = onItems;
  }

  /** @throws {Error} if something is longer than it can be */
  feed(chunk: Buffer): void {
    let from = 0; // where what is not yet put away begins
    let depth = this.#depth; // a variable is read sooner, sixty million times
    for (let at = this.#isInString ? this.#endOfString(chunk, 0) : 0; at < chunk.length; at++) {
      const byte = chunk[at];
      if (byte === QUOTE) at = this.#endOfString(chunk, at + 1) - 1;
      else if (byte === OPEN_OBJECT || byte === OPEN_LIST) {
        if (this.#isInItems && depth === 2) {
          this.#keep(chunk.subarray(from, at));
          from = at;
          this.#isInItem = true;
        }
        if (byte === OPEN_LIST && depth === 1) {
          this.#isInItems = true;
          this.#keep(chunk.subarray(from, at + 1));
          from = at + 1;
          this.#onItems?.(`${this.end()}]}`);
        }
        depth++;
      } else if (byte === CLOSE_OBJECT || byte === CLOSE_LIST) {
        depth--;
        if (this.#isInItem && depth === 2) {
          this.#add(chunk.subarray(from, at + 1));
          from = at + 1;
          this.#finish();
        } else if (depth === 1) this.#isInItems = false;
      } else if (byte === COMMA && depth === 2 && this.#isInItems) {
        this.#keep(chunk.subarray(from, at));
        from = at + 1;
      }
    }
    this.#depth = depth;
    if (this.#isInItem) this.#add(chunk.subarray(from));
    else this.#keep(chunk.subarray(from));
  }

  /** Where the string that goes on at `start` is over, or the chunk's end: most bytes of a list are in strings. */
  #endOfString(chunk: Buffer, start: number): number {
    for (let from = start; ; ) {
      const quote = chunk.indexOf(QUOTE, from);
      const end = quote < 0 ? chunk.length : quote;
      let slashes = 0;
      while (end - slashes > start && chunk[end - slashes - 1] === BACKSLASH) slashes++;
      // If it is slashes from its beginning, the chunk before may have ended in one.
      const isEscaped = (slashes + (end - slashes === start && this.#isEscaped ? 1 : 0)) % 2 === 1;
      this.#isInString = quote < 0 || isEscaped;
      this.#isEscaped = quote < 0 && isEscaped;
      if (quote < 0) return end;
      if (!isEscaped) return end + 1;
      from = end + 1;
    }
  }

  /** The list without its items. */
  end(): string {
    return Buffer.concat(this.#envelope).toString("utf8");
  }

  #keep(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#envelopeSize += bytes.length;
    if (this.#envelopeSize > MOST_ENVELOPE_BYTES)
      throw new Error(`a list has more than ${MOST_ENVELOPE_BYTES} bytes around its items`);
    this.#envelope.push(Buffer.from(bytes)); // a copy: the chunk is to be forgotten
  }

  #add(bytes: Buffer): void {
    this.#itemSize += bytes.length;
    if (this.#itemSize > MOST_ITEM_BYTES) throw new Error(`an object is longer than ${MOST_ITEM_BYTES} bytes`);
    this.#item.push(bytes);
  }

  #finish(): void {
    const [only] = this.#item;
    const bytes = this.#item.length === 1 && only !== undefined ? only : Buffer.concat(this.#item);
    this.#item = [];
    this.#itemSize = 0;
    this.#isInItem = false;
    this.#onItem(bytes);
  }
}
