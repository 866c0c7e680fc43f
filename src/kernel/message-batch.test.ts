import { describe, expect, test } from "vitest";
import { Arena } from "../lib/arena.ts";
import { ReceiveBatch, SendBatch } from "./message-batch.ts";

const BASES = [0x10_0000, 0x7f00_8000_0000, 0x7f5a_fffe_8000];

/** Reads C's structures where pointers have 8 bytes, knowing nothing of who wrote them. */
function reader(arena: Arena, base: number) {
  const { view, bytes } = arena;
  const pointer = (at: number) => Number(view.getBigUint64(at, true) - BigInt(base));
  const u64 = (at: number) => Number(view.getBigUint64(at, true));
  /** `struct mmsghdr` */
  const message = (at: number) => ({
    name: pointer(at),
    nameLength: view.getUint32(at + 8, true),
    pieces: pointer(at + 16),
    pieceCount: u64(at + 24),
    control: pointer(at + 32),
    controlLength: u64(at + 40),
    flags: view.getInt32(at + 48, true),
  });
  /** `struct sockaddr_in` */
  const address = (at: number) => [
    view.getUint16(at, true),
    view.getUint16(at + 2),
    bytes.slice(at + 4, at + 8).join("."),
  ];
  return { view, pointer, u64, message, address };
}

describe("SendBatch", () => {
  test.each(BASES)("writes what sendmmsg(2) reads, at address %d", (base) => {
    const arena = new Arena(1 << 20);
    const { view, u64, message, address } = reader(arena, base);
    const batch = new SendBatch(arena, base, { messages: 3, pieces: 6, port: 8285 });
    for (let piece = 0; piece < 6; piece++) batch.pieces.piece(0x2_0000 + piece * 100, 50 + piece);
    batch.add(0xc000_02fe, 0, 1, 0); // 192.0.2.254
    batch.add(0x0a05_0001 | 0, 1, 4, 1472);
    batch.add(-1, 5, 1, 0);
    const messages = [0, 1, 2].map((index) => message(batch.at + index * 64));
    expect(messages.map(({ name }) => address(name))).toEqual([
      [2, 8285, "192.0.2.254"],
      [2, 8285, "10.5.0.1"],
      [2, 8285, "255.255.255.255"],
    ]);
    expect(messages.map(({ nameLength }) => nameLength)).toEqual([16, 16, 16]);
    expect(messages.map(({ pieces, pieceCount }) => [pieces, pieceCount])).toEqual([
      [batch.pieces.at, 1],
      [batch.pieces.at + 16, 4],
      [batch.pieces.at + 80, 1],
    ]);
    expect(messages.map(({ controlLength, flags }) => [controlLength, flags])).toEqual([
      [0, 0],
      [24, 0],
      [0, 0],
    ]);
    // `struct cmsghdr` with a u16: CMSG_LEN(2), SOL_UDP, UDP_SEGMENT
    const control = messages[1]?.control ?? 0;
    expect([u64(control), view.getInt32(control + 8, true), view.getInt32(control + 12, true)]).toEqual([18, 17, 103]);
    expect(view.getUint16(control + 16, true)).toBe(1472);
  });

  test.each(BASES)("tells what it was given, at address %d", (base) => {
    const batch = new SendBatch(new Arena(1 << 20), base, { messages: 2, pieces: 6, port: 1 });
    for (let piece = 0; piece < 6; piece++) batch.pieces.piece(0x2_0000, 50);
    batch.add(0xc000_02fe, 0, 1, 0);
    batch.add(0x0a05_0001, 1, 4, 50);
    expect(batch.count).toBe(2);
    const told = (index: number) => [
      batch.destinationOf(index),
      batch.firstPieceOf(index),
      batch.pieceCountOf(index),
      batch.segmentOf(index),
    ];
    expect([told(0), told(1)]).toEqual([
      [0xc000_02fe, 0, 1, 0],
      [0x0a05_0001, 1, 4, 50],
    ]);
    batch.resize(5, 70);
    expect(told(1)).toEqual([0x0a05_0001, 1, 5, 70]);
    batch.clear();
    expect([batch.count, batch.pieces.count]).toEqual([0, 0]);
    batch.pieces.piece(0x2_0000, 50);
    batch.add(0x0a05_0002, 0, 1, 0);
    expect(told(0)).toEqual([0x0a05_0002, 0, 1, 0]);
  });
});

describe("ReceiveBatch", () => {
  test.each(BASES)("writes what recvmmsg(2) reads, at address %d", (base) => {
    const arena = new Arena(1 << 20);
    const { pointer, u64, message } = reader(arena, base);
    const batch = new ReceiveBatch(arena, base, { messages: 3, bytes: 65_536 });
    const messages = [0, 1, 2].map((index) => message(batch.at + index * 64));
    expect(new Set(messages.map(({ name }) => name)).size).toBe(3);
    for (const [index, { nameLength, pieces, pieceCount, control, controlLength }] of messages.entries()) {
      expect([nameLength, pieceCount]).toEqual([16, 1]);
      expect([pointer(pieces), u64(pieces + 8)]).toEqual([batch.bufferAt(index), 65_536]);
      expect(controlLength).toBeGreaterThanOrEqual(24); // CMSG_SPACE(4)
      expect(control % 8).toBe(0);
    }
    const places = [0, 1, 2].map((index) => batch.bufferAt(index));
    expect(places).toEqual([0, 1, 2].map((index) => (places[0] ?? 0) + index * 65_536));
    expect((places[2] ?? 0) + 65_536).toBeLessThanOrEqual(arena.bytes.length);
  });

  test("tells what the kernel wrote, and is as before once cleared", () => {
    const base = BASES[2] ?? 0;
    const arena = new Arena(1 << 20);
    const { view, message } = reader(arena, base);
    const batch = new ReceiveBatch(arena, base, { messages: 3, bytes: 65_536 });
    const before = [0, 1, 2].map((index) => message(batch.at + index * 64));
    const write = (index: number, length: number, segment?: number, kind: readonly number[] = [17, 104]) => {
      const at = batch.at + index * 64;
      const { name, control } = message(at);
      view.setUint16(name, 2, true);
      view.setUint32(name + 4, 0xc000_0210 + index);
      view.setUint32(at + 8, 16, true);
      view.setUint32(at + 56, length, true);
      view.setBigUint64(at + 40, segment === undefined ? 0n : 24n, true);
      if (segment === undefined) return;
      view.setBigUint64(control, 20n, true);
      view.setInt32(control + 8, kind[0] ?? 0, true);
      view.setInt32(control + 12, kind[1] ?? 0, true);
      view.setInt32(control + 16, segment, true);
    };
    const told = (index: number) => [batch.sourceOf(index), batch.lengthOf(index), batch.segmentOf(index)];
    write(0, 60_000, 1420);
    write(1, 100);
    write(2, 0);
    expect([told(0), told(1), told(2)]).toEqual([
      [0xc000_0210, 60_000, 1420],
      [0xc000_0211, 100, 100],
      [0xc000_0212, 0, 0],
    ]);
    batch.clear(3);
    expect([0, 1, 2].map((index) => message(batch.at + index * 64))).toEqual(before);
    // What an earlier message left behind says nothing of this one; nor does other control data.
    write(0, 100);
    write(1, 100, 50, [1, 29]);
    expect([told(0), told(1)]).toEqual([
      [0xc000_0210, 100, 100],
      [0xc000_0211, 100, 100],
    ]);
  });
});
