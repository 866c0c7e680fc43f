import { setImmediate as nextTurn } from "node:timers/promises";
import type { Abortable } from "../lib/abortable.ts";
import type { Codec, Encoder, ValueOf } from "../wire/codec.ts";
import {
  beginMessage,
  endMessage,
  MessageCursor,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  readAcknowledgement,
  readDone,
  requestAcknowledgement,
} from "../wire/netlink-header.ts";
import { Writer } from "../wire/writer.ts";
import { EINTR, errnoName } from "./errno.ts";
import { NetlinkError } from "./netlink-error.ts";
import type { NetlinkSocket } from "./netlink-socket.ts";

/** Something asked of the kernel that it answers with yes or an error. */
export interface NetlinkRequest {
  readonly type: number;
  /** NLM_F_REPLACE and the like; those of every request are added. */
  readonly flags: number;
  readonly write: (writer: Writer) => void;
  /** For an error: `add neighbor 10.5.2.0 lladdr … dev flannel.1`. */
  readonly describe: () => string;
}

export function netlinkRequest<T>(
  type: number,
  flags: number,
  codec: Encoder<T>,
  value: T,
  describe: () => string,
): NetlinkRequest {
  return { type, flags, describe, write: (writer) => codec.write(writer, value) };
}

/** Bytes of requests that go down in one system call. */
const BATCH_SIZE = 60_000;

/** A dump that others keep disturbing is given up after so many beginnings. */
const DUMP_ATTEMPTS = 20;

/** Turns of a dump after which others may have the thread: about 1 MiB. */
const DATAGRAMS_PER_TURN = 32;

/** What a connection needs of a socket. */
export type RequestSocket = Pick<NetlinkSocket, "port" | "source" | "send" | "receive" | typeof Symbol.dispose>;

/** Requests and their answers on one socket, one caller after the other. */
export class NetlinkConnection implements Disposable {
  readonly #socket: RequestSocket;
  readonly #writer = new Writer(BATCH_SIZE + 4096);
  #sequence = 1;
  /** Ends when the last caller has been served. */
  #queue: Promise<void> = Promise.resolve();

  /** @param socket nobody else's from now on */
  constructor(socket: RequestSocket) {
    this.#socket = socket;
  }

  get port(): number {
    return this.#socket.port;
  }

  /**
   * Sends a request for each row, in order. Rejects if the signal aborts between batches.
   * @param toRequest is called while the batch is written, so that no more than one request exists at a time
   * @returns by the row's index why the kernel refused, where it did
   */
  request<Row>(
    rows: readonly Row[],
    toRequest: (row: Row, index: number) => NetlinkRequest,
    { signal }: Abortable,
  ): Promise<ReadonlyMap<number, NetlinkError>> {
    return this.#exclusively(async () => {
      const errors = new Map<number, NetlinkError>();
      let first = 0;
      while (first < rows.length) {
        signal.throwIfAborted();
        first = this.#sendBatch(rows, toRequest, first, errors);
        if (first < rows.length) await nextTurn();
      }
      return errors;
    });
  }

  /**
   * Sends requests between a beginning and an end, for parts of the kernel that do all of them or none.
   * @throws {NetlinkError} the first refusal; nothing was done then
   */
  transaction(
    begin: NetlinkRequest,
    requests: readonly NetlinkRequest[],
    end: NetlinkRequest,
    { signal }: Abortable,
  ): Promise<void> {
    return this.#exclusively(async () => {
      signal.throwIfAborted();
      const writer = this.#writer;
      writer.reset();
      const first = this.#sequence + 1;
      const all = [begin, ...requests, end];
      const last = all.length - 2; // not every kernel acknowledges the end
      for (const [index, request] of all.entries()) {
        const start = beginMessage(writer, request.type, NLM_F_REQUEST | request.flags, this.#nextSequence());
        request.write(writer);
        endMessage(writer, start);
        if (index === last) requestAcknowledgement(writer, start);
      }
      this.#socket.send(writer.written());
      for (;;) {
        const cursor = this.#receive();
        while (cursor.next()) {
          if (cursor.type !== NLMSG_ERROR) continue;
          const { errno, text } = readAcknowledgement(cursor);
          const index = (cursor.sequence - first) >>> 0;
          if (errno !== 0) throw new NetlinkError((requests[index] ?? begin).describe(), errno, text);
          if (index === requests.length - 1) return;
        }
      }
    });
  }

  /**
   * Everything of a kind. An interrupted dump, which may have missed what moved meanwhile, is begun again.
   * @param filter what of a message the kernel should compare
   * @param take picks what is wanted of each answer while it is decoded; undefined leaves it out
   */
  dump<C extends Codec<unknown>, T>(
    type: number,
    codec: C,
    filter: Parameters<C["write"]>[1],
    take: (value: ValueOf<C>, messageType: number) => T | undefined,
    options: Abortable & { readonly describe: string },
  ): Promise<readonly T[]> {
    return this.#exclusively(async () => {
      for (let attempt = 0; attempt < DUMP_ATTEMPTS; attempt++) {
        const values = await this.#dumpOnce(type, codec, filter, take, options);
        if (values !== undefined) return values;
        await nextTurn();
      }
      throw new NetlinkError(options.describe, EINTR, `disturbed ${DUMP_ATTEMPTS} times`);
    });
  }

  /** One object. @returns undefined with the kernel's error if there is none */
  get<C extends Codec<unknown>>(
    type: number,
    codec: C,
    which: Parameters<C["write"]>[1],
    options: Abortable & { readonly describe: string },
  ): Promise<ValueOf<C> | NetlinkError> {
    return this.#exclusively(async () => {
      options.signal.throwIfAborted();
      const sequence = this.#send(type, 0, codec, which);
      let value: ValueOf<C> | undefined;
      while (true) {
        const cursor = this.#receive();
        while (cursor.next()) {
          if (cursor.sequence !== sequence) continue;
          if (cursor.type === NLMSG_ERROR) {
            const { errno, text } = readAcknowledgement(cursor);
            return new NetlinkError(options.describe, errno, text);
          }
          value = codec.read(cursor.source, cursor.start, cursor.end) as ValueOf<C>;
        }
        if (value !== undefined) return value;
      }
    });
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  /**
   * Only the last request asks for an acknowledgement: the kernel answers in order, and tells every error unasked. That saves a third
   * of the time. Should an error not fit into the socket's buffer, reading fails with ENOBUFS.
   * @returns the first row that did not fit
   */
  #sendBatch<Row>(
    rows: readonly Row[],
    toRequest: (row: Row, index: number) => NetlinkRequest,
    first: number,
    errors: Map<number, NetlinkError>,
  ): number {
    const writer = this.#writer;
    writer.reset();
    const base = this.#sequence;
    let next = first;
    let last = 0;
    while (next < rows.length && writer.length < BATCH_SIZE) {
      const request = toRequest(rows[next] as Row, next);
      last = beginMessage(writer, request.type, NLM_F_REQUEST | request.flags, this.#nextSequence());
      request.write(writer);
      endMessage(writer, last);
      next++;
    }
    const count = next - first;
    requestAcknowledgement(writer, last);
    this.#socket.send(writer.written());
    for (let isDone = false; !isDone; ) {
      const cursor = this.#receive();
      while (cursor.next()) {
        const index = (cursor.sequence - base) >>> 0;
        if (cursor.type !== NLMSG_ERROR || index >= count) continue;
        const { errno, text } = readAcknowledgement(cursor);
        if (errno !== 0) {
          const { describe } = toRequest(rows[first + index] as Row, first + index);
          errors.set(first + index, new NetlinkError(describe(), errno, text));
        }
        if (index === count - 1) isDone = true;
      }
    }
    return next;
  }

  /** @returns undefined if it was interrupted */
  async #dumpOnce<C extends Codec<unknown>, T>(
    type: number,
    codec: C,
    filter: Parameters<C["write"]>[1],
    take: (value: ValueOf<C>, messageType: number) => T | undefined,
    { signal, describe }: Abortable & { readonly describe: string },
  ): Promise<T[] | undefined> {
    signal.throwIfAborted();
    const sequence = this.#send(type, NLM_F_DUMP, codec, filter);
    const values: T[] = [];
    let interrupted = false;
    for (let datagrams = 1; ; datagrams++) {
      const cursor = this.#receive();
      while (cursor.next()) {
        if (cursor.sequence !== sequence) continue;
        if ((cursor.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true;
        if (cursor.type === NLMSG_DONE) {
          const errno = readDone(cursor);
          if (errno === EINTR || (errno === 0 && interrupted)) return undefined;
          if (errno !== 0) throw new NetlinkError(describe, errno);
          return values;
        }
        if (cursor.type === NLMSG_ERROR) {
          const { errno, text } = readAcknowledgement(cursor);
          if (errno === EINTR) return undefined;
          throw new NetlinkError(describe, errno, text);
        }
        const value = take(codec.read(cursor.source, cursor.start, cursor.end) as ValueOf<C>, cursor.type);
        if (value !== undefined) values.push(value);
      }
      if (datagrams % DATAGRAMS_PER_TURN === 0) await nextTurn();
    }
  }

  #send<T>(type: number, flags: number, codec: Codec<T>, value: T): number {
    const sequence = this.#nextSequence();
    this.#writer.reset();
    const start = beginMessage(this.#writer, type, NLM_F_REQUEST | flags, sequence);
    codec.write(this.#writer, value);
    endMessage(this.#writer, start);
    this.#socket.send(this.#writer.written());
    return sequence;
  }

  /** One datagram, which must be there already: the kernel answers before `send` returns. */
  #receive(): MessageCursor {
    const size = this.#socket.receive();
    if (size < 0) throw new NetlinkError("read the kernel's answer", -size, `lost after ${errnoName(-size)}`);
    return new MessageCursor(this.#socket.source, size);
  }

  /** Reads to the end of a dump that nobody wants any more: the kernel allows one at a time. */
  #drain(): void {
    while (this.#socket.receive() >= 0);
  }

  #nextSequence(): number {
    const sequence = this.#sequence;
    this.#sequence = (sequence + 1) >>> 0;
    return sequence;
  }

  #exclusively<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(action).catch((error: unknown) => {
      this.#drain();
      throw error;
    });
    this.#queue = result.then(
      () => undefined,
      () => undefined,
    );
    return result;
  }
}
