import { describe, expect, test } from "vitest";
import { type Source, sourceOf } from "../wire/codec.ts";
import { NeighborMessage, RTM_GETNEIGH, RTM_NEWNEIGH } from "../wire/neighbor-message.ts";
import {
  AF_INET,
  MessageCursor,
  NLM_F_DUMP_INTR,
  NLM_F_MULTI,
  NLMSG_DONE,
  NLMSG_ERROR,
} from "../wire/netlink-header.ts";
import { Writer } from "../wire/writer.ts";
import { EAGAIN, EEXIST, EINTR, ENOBUFS, EPERM } from "./errno.ts";
import { NetlinkConnection, netlinkRequest, type RequestSocket } from "./netlink-connection.ts";

const signal = new AbortController().signal;

interface Reply {
  readonly type: number;
  readonly flags?: number;
  readonly sequence: number;
  readonly body: readonly number[];
}

/** A kernel that answers as a test says. */
class ScriptedSocket implements RequestSocket {
  readonly port = 1;
  readonly source: Source = sourceOf(new Uint8Array(65536));
  readonly sent: { type: number; flags: number; sequence: number }[][] = [];
  readonly #answer: (sequences: readonly number[], turn: number) => readonly (readonly Reply[] | number)[];
  #queue: (readonly Reply[] | number)[] = [];

  constructor(answer: (sequences: readonly number[], turn: number) => readonly (readonly Reply[] | number)[]) {
    this.#answer = answer;
  }

  send(bytes: Uint8Array): void {
    const cursor = new MessageCursor(sourceOf(bytes), bytes.length);
    const messages = [];
    while (cursor.next()) messages.push({ type: cursor.type, flags: cursor.flags, sequence: cursor.sequence });
    this.sent.push(messages);
    this.#queue.push(
      ...this.#answer(
        messages.map(({ sequence }) => sequence),
        this.sent.length,
      ),
    );
  }

  receive(): number {
    const next = this.#queue.shift();
    if (next === undefined) return -EAGAIN;
    if (typeof next === "number") return -next;
    const writer = new Writer();
    for (const { type, flags = 0, sequence, body } of next) {
      writer.u32(16 + body.length);
      writer.u16(type);
      writer.u16(flags);
      writer.u32(sequence);
      writer.u32(1);
      writer.append(Uint8Array.from(body));
      writer.align();
    }
    this.source.bytes.set(writer.written());
    return writer.length;
  }

  [Symbol.dispose](): void {
    this.#queue = [];
  }
}

function acknowledgement(sequence: number, errno = 0): Reply {
  const code = new Uint8Array(new Int32Array([-errno]).buffer);
  return { type: NLMSG_ERROR, sequence, body: [...code, ...new Uint8Array(16)] };
}

function neighbor(sequence: number, index: number, flags = 0): Reply {
  return {
    type: RTM_NEWNEIGH,
    flags: NLM_F_MULTI | flags,
    sequence,
    body: [AF_INET, 0, 0, 0, index, 0, 0, 0, 0, 0, 0, 0],
  };
}

function done(sequence: number, errno = 0, flags = 0): Reply {
  return {
    type: NLMSG_DONE,
    flags: NLM_F_MULTI | flags,
    sequence,
    body: [...new Uint8Array(new Int32Array([-errno]).buffer)],
  };
}

function send(connection: NetlinkConnection, count: number, options = { signal }) {
  const toRequest = (row: number) =>
    netlinkRequest(RTM_NEWNEIGH, 0, NeighborMessage, { linkIndex: row }, () => `add neighbor ${row}`);
  return connection.request(
    Array.from({ length: count }, (_, row) => row),
    toRequest,
    options,
  );
}

const NO_ERRORS = new Map();

function dump(connection: NetlinkConnection): Promise<readonly number[]> {
  const take = ({ linkIndex }: { linkIndex: number }) => linkIndex;
  return connection.dump(RTM_GETNEIGH, NeighborMessage, { family: AF_INET }, take, {
    signal,
    describe: "list neighbors",
  });
}

describe("NetlinkConnection.request()", () => {
  test("gives each error to its request, and asks for one acknowledgement a batch", async () => {
    const socket = new ScriptedSocket((sequences) => [
      [acknowledgement(sequences[1] ?? 0, EEXIST)],
      [acknowledgement(sequences[2] ?? 0, EPERM), acknowledgement(sequences[4] ?? 0)],
    ]);
    const errors = await send(new NetlinkConnection(socket), 5);
    expect([...errors].map(([row, error]) => [row, error.message])).toEqual([
      [1, "add neighbor 1: EEXIST"],
      [2, "add neighbor 2: EPERM"],
    ]);
    expect(socket.sent[0]?.map(({ flags }) => flags & 4)).toEqual([0, 0, 0, 0, 4]);
  });

  test("splits many into batches of about 60 KB and lets others run in between", async () => {
    const socket = new ScriptedSocket((sequences) => [[acknowledgement(sequences.at(-1) ?? 0)]]);
    const sending = send(new NetlinkConnection(socket), 5000);
    let turns = 0;
    const tick = setImmediate(() => turns++);
    await sending;
    clearImmediate(tick);
    expect(turns).toBe(1);
    expect(socket.sent.length).toBe(3);
    expect(socket.sent.flat()).toHaveLength(5000);
  });

  test("stops between batches when it is asked to", async () => {
    const controller = new AbortController();
    const socket = new ScriptedSocket((sequences) => {
      controller.abort(new Error("enough"));
      return [[acknowledgement(sequences.at(-1) ?? 0)]];
    });
    const sending = send(new NetlinkConnection(socket), 5000, { signal: controller.signal });
    await expect(sending).rejects.toThrow("enough");
    expect(socket.sent.length).toBe(1);
  });

  test("rejects where answers were lost, and works again afterwards", async () => {
    const socket = new ScriptedSocket((sequences, turn) =>
      turn === 1 ? [ENOBUFS, [acknowledgement(sequences[0] ?? 0)]] : [[acknowledgement(sequences[0] ?? 0)]],
    );
    const connection = new NetlinkConnection(socket);
    await expect(send(connection, 1)).rejects.toThrow("ENOBUFS");
    expect(await send(connection, 1)).toEqual(NO_ERRORS);
  });

  test("of nothing sends nothing", async () => {
    const socket = new ScriptedSocket(() => []);
    expect(await send(new NetlinkConnection(socket), 0)).toEqual(NO_ERRORS);
    expect(socket.sent).toEqual([]);
  });
});

describe("NetlinkConnection.dump()", () => {
  test("takes all datagrams to the end and skips what answers an earlier request", async () => {
    const socket = new ScriptedSocket(([sequence = 0]) => [
      [neighbor(sequence + 77, 9)],
      [neighbor(sequence, 1), neighbor(sequence, 2)],
      [neighbor(sequence, 3)],
      [done(sequence)],
    ]);
    expect(await dump(new NetlinkConnection(socket))).toEqual([1, 2, 3]);
  });

  test.for([
    {
      how: "a message says so",
      last: (sequence: number) => [[neighbor(sequence, 2, NLM_F_DUMP_INTR)], [done(sequence)]],
    },
    { how: "the end says so", last: (sequence: number) => [[done(sequence, 0, NLM_F_DUMP_INTR)]] },
    { how: "it ends with EINTR", last: (sequence: number) => [[done(sequence, EINTR)]] },
    { how: "it fails with EINTR", last: (sequence: number) => [[acknowledgement(sequence, EINTR)]] },
  ])("begins again where it was interrupted: $how", async ({ last }) => {
    const socket = new ScriptedSocket(([sequence = 0], turn) =>
      turn < 3 ? [[neighbor(sequence, 1)], ...last(sequence)] : [[neighbor(sequence, 5)], [done(sequence)]],
    );
    expect(await dump(new NetlinkConnection(socket))).toEqual([5]);
    expect(socket.sent.length).toBe(3);
  });

  test("gives up where it is interrupted for ever", async () => {
    const socket = new ScriptedSocket(([sequence = 0]) => [[done(sequence, EINTR)]]);
    await expect(dump(new NetlinkConnection(socket))).rejects.toThrow("list neighbors: EINTR (disturbed 20 times)");
  });

  test("rejects with the kernel's error", async () => {
    const socket = new ScriptedSocket(([sequence = 0]) => [[acknowledgement(sequence, EPERM)]]);
    await expect(dump(new NetlinkConnection(socket))).rejects.toThrow("list neighbors: EPERM");
  });

  test("and request() wait for each other", async () => {
    const socket = new ScriptedSocket((sequences) => [
      ...Array.from({ length: 100 }, (_, index) => [neighbor(sequences[0] ?? 0, index)]),
      [done(sequences[0] ?? 0)],
      [acknowledgement(sequences[0] ?? 0)],
    ]);
    const connection = new NetlinkConnection(socket);
    const [indexes, results] = await Promise.all([dump(connection), send(connection, 1)]);
    expect(indexes).toHaveLength(100);
    expect(results).toEqual(NO_ERRORS);
  });
});
