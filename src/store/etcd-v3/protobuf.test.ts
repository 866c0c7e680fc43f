import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bool, bytes, enumeration, int64, message, optional, repeated, text, uint64 } from "./protobuf.ts";

const Inner = message({ id: [1, int64], note: [2, text] });
const Outer = message({
  signed: [1, int64],
  unsigned: [2, uint64],
  kind: [3, enumeration],
  isOn: [4, bool],
  name: [5, text],
  raw: [6, bytes],
  inner: [7, optional(Inner)],
  inners: [8, repeated(optional(Inner))],
  keys: [9, repeated(bytes)],
  far: [64, bytes],
});

const hex = (value: Uint8Array) => Buffer.from(value).toString("hex");
const unhex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"));
const raw = fc.uint8Array({ maxLength: 300 });
const inner = fc.record({
  id: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  note: fc.string({ unit: "grapheme" }),
});

describe("message()", () => {
  // Bytes from the protobuf documentation, "Encoding", and by its rules.
  test.each([
    ["08 96 01", { signed: 150n }],
    ["08 ff ff ff ff ff ff ff ff ff 01", { signed: -1n }],
    ["10 ff ff ff ff ff ff ff ff ff 01", { unsigned: 2n ** 64n - 1n }],
    ["2a 07 74 65 73 74 69 6e 67", { name: "testing" }],
    ["3a 03 08 96 01", { inner: { id: 150n } }],
    ["4a 01 01 4a 00", { keys: [Uint8Array.of(1), Uint8Array.of()] }],
    ["82 04 01 07", { far: Uint8Array.of(7) }],
    ["08 00 20 00", { signed: 0n, isOn: false }],
    ["", {}],
  ])("encode() writes %s as protobuf does, and what is given even if it is zero", (text, value) => {
    expect(hex(Outer.encode(value))).toBe(text.replaceAll(" ", ""));
  });

  test("decode() tells of every field, also of those that are not there", () => {
    expect(Outer.decode(new Uint8Array(0))).toEqual({
      signed: 0n,
      unsigned: 0n,
      kind: 0,
      isOn: false,
      name: "",
      raw: new Uint8Array(0),
      inner: undefined,
      inners: [],
      keys: [],
      far: new Uint8Array(0),
    });
  });

  test("decode() gives back what encode() was given", () => {
    const value = fc.record({
      signed: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      unsigned: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      kind: fc.nat(),
      isOn: fc.boolean(),
      name: fc.string({ unit: "grapheme" }),
      raw,
      inner: fc.option(inner, { nil: undefined }),
      inners: fc.array(inner, { maxLength: 5 }),
      keys: fc.array(raw, { maxLength: 5 }),
      far: raw,
    });
    fc.assert(
      fc.property(value, (given) => {
        expect(Outer.decode(Outer.encode(given))).toEqual(given);
      }),
    );
  });

  test("decode() skips fields it does not know, of every wire type, and known ones of another wire type", () => {
    const unknown = "78 05  79 0102030405060708  7a 02 0000  7d 01020304";
    expect(Outer.decode(unhex(`${unknown} 08 07 ${unknown} 0a 01 ff`)).signed).toBe(7n);
  });

  test("decode() does not mix what two messages repeat", () => {
    const one = Outer.encode({ keys: [Uint8Array.of(1), Uint8Array.of(2)] });
    const [first, second] = [Outer.decode(one), Outer.decode(one)];
    expect(first.keys).toEqual(second.keys);
    expect(Outer.decode(new Uint8Array(0)).keys).toEqual([]);
  });

  test.each([
    ["08", /within a number/],
    ["08 ff ff ff ff ff ff ff ff ff ff 01", /64 bits/],
    ["ff ff ff ff ff 7f 00", /32 bits/],
    ["32 05 01", /5 bytes announced, 1 there/],
    ["3a 02 08 96 01", /within a number/],
    ["3a 03 2a 05 61 62 63 64 65", /5 bytes announced, 1 there/],
    ["0b", /wire type 3/],
  ])("decode() throws RangeError for %s", (text, reason) => {
    expect(() => Outer.decode(unhex(text))).toThrow(reason);
    expect(() => Outer.decode(unhex(text))).toThrow(RangeError);
  });

  test("decode() throws nothing but RangeError, whatever the bytes", () => {
    const cut = fc
      .tuple(fc.record({ name: fc.string(), inners: fc.array(inner), raw }), fc.nat(), fc.nat({ max: 255 }))
      .map(([value, at, byte]) =>
        Outer.encode(value).map((old, index, all) => (index === at % all.length ? byte : old)),
      );
    fc.assert(
      fc.property(fc.oneof(raw, cut), (input) => {
        try {
          Outer.decode(input);
          return true;
        } catch (error) {
          return error instanceof RangeError;
        }
      }),
      { seed: 1, numRuns: 5_000 },
    );
  });
});
