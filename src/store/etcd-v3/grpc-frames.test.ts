import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeFrame, FrameDecoder } from "./grpc-frames.ts";
import { PutRequest } from "./rpc.ts";

/** What a decoder finds in these bytes, given to it in these pieces. */
function decode(chunks: Iterable<Uint8Array>): readonly Uint8Array[] {
  const messages: Uint8Array[] = [];
  const decoder = new FrameDecoder((bytes) => messages.push(Uint8Array.from(bytes)));
  for (const chunk of chunks) decoder.push(chunk);
  return messages;
}

function frame(body: Uint8Array): readonly number[] {
  return [0, body.length >>> 24, (body.length >>> 16) & 255, (body.length >>> 8) & 255, body.length & 255, ...body];
}

describe("encodeFrame()", () => {
  test("puts five bytes before the message: not compressed, and its length", () => {
    // Field 1, two bytes `ab`; field 3, varint 300: as the protobuf documentation encodes them.
    const message = { key: Uint8Array.of(0x61, 0x62), lease: 300n };
    expect([...encodeFrame(PutRequest, message)]).toEqual([0, 0, 0, 0, 7, 0x0a, 2, 0x61, 0x62, 0x18, 0xac, 0x02]);
  });
});

describe("FrameDecoder", () => {
  test("finds the messages wherever the bytes were cut", () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 6 }),
        fc.array(fc.nat({ max: 250 }), { maxLength: 12 }),
        (messages, cuts) => {
          const bytes = Uint8Array.from(messages.flatMap(frame));
          const at = [0, ...cuts.filter((cut) => cut < bytes.length).toSorted((a, b) => a - b), bytes.length];
          const chunks = at.slice(1).map((end, index) => bytes.slice(at[index], end));
          expect(decode(chunks)).toEqual(messages.map((message) => Uint8Array.from(message)));
        },
      ),
    );
  });

  test("finds nothing in a part of a message", () => {
    expect(decode([Uint8Array.of(0, 0, 0, 0, 3, 1, 2)])).toEqual([]);
  });

  test("throws RangeError for a compressed message and for one that is too long", () => {
    expect(() => decode([Uint8Array.of(1, 0, 0, 0, 1, 7)])).toThrow(/compressed/);
    expect(() => decode([Uint8Array.of(0, 255, 255, 255, 255)])).toThrow(/4294967295 bytes/);
  });

  test("throws nothing but RangeError, whatever the bytes", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 30 }), { maxLength: 10 }), (chunks) => {
        try {
          decode(chunks);
          return true;
        } catch (error) {
          return error instanceof RangeError;
        }
      }),
      { seed: 1, numRuns: 2_000 },
    );
  });
});
