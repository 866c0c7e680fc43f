import type { Message } from "./protobuf.ts";

/** One byte that tells whether the message is compressed, four with its length. */
const HEADER = 5;
/** Far more than a page of leases; a stranger shall not fill our memory. */
const LARGEST_MESSAGE = 64 << 20;

/** A message as gRPC sends it. */
export function encodeFrame<Given>(type: Pick<Message<unknown, Given>, "encode">, message: Given): Uint8Array {
  const body = type.encode(message);
  const frame = new Uint8Array(HEADER + body.length);
  new DataView(frame.buffer).setUint32(1, body.length);
  frame.set(body, HEADER);
  return frame;
}

/** Finds the messages in a stream of bytes that was cut anywhere. */
export class FrameDecoder {
  readonly #onMessage: (bytes: Uint8Array) => void;
  #chunks: Uint8Array[] = [];
  #size = 0;

  constructor(onMessage: (bytes: Uint8Array) => void) {
    this.#onMessage = onMessage;
  }

  /** @throws {RangeError} if a message is compressed, which we never asked for, or longer than any of etcd's */
  push(chunk: Uint8Array): void {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    for (let length = this.#length(); length !== undefined && this.#size >= HEADER + length; length = this.#length()) {
      const bytes = this.#joined();
      const rest = bytes.subarray(HEADER + length);
      this.#chunks = rest.length === 0 ? [] : [rest];
      this.#size = rest.length;
      this.#onMessage(bytes.subarray(HEADER, HEADER + length));
    }
  }

  /** Of the first message's body, once that is known. */
  #length(): number | undefined {
    if (this.#size < HEADER) return undefined;
    if ((this.#chunks[0]?.length ?? 0) < HEADER) this.#chunks = [this.#joined()];
    const [first = new Uint8Array(HEADER)] = this.#chunks;
    const length = new DataView(first.buffer, first.byteOffset).getUint32(1);
    if (first[0] !== 0) throw new RangeError("a compressed message, which was not asked for");
    if (length > LARGEST_MESSAGE) throw new RangeError(`a message of ${length} bytes`);
    return length;
  }

  #joined(): Uint8Array {
    const [only] = this.#chunks;
    return this.#chunks.length === 1 && only !== undefined ? only : Buffer.concat(this.#chunks, this.#size);
  }
}
