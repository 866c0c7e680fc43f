import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CursorSyntaxError, epochOf, formatCursor, parseCursor } from "./cursor-text.ts";
import { readCursor, writeCursor } from "./history-names.ts";

const index = fc.bigInt({ min: 0n, max: 10n ** 13n - 1n });

describe("formatCursor()", () => {
  test("formatCursor() writes a decimal of 64 bits that parseCursor() takes apart again", () => {
    fc.assert(
      fc.property(fc.string(), index, (history, index) => {
        const text = formatCursor({ history, index });
        expect(BigInt(text)).toBeLessThan(2n ** 64n);
        expect(parseCursor(text)).toEqual({ epoch: epochOf(history), index });
      }),
    );
  });

  test("formatCursor() tells the same index of two histories apart", () => {
    expect(formatCursor({ history: "a", index: 7n })).not.toBe(formatCursor({ history: "b", index: 7n }));
  });
});

describe("parseCursor()", () => {
  test("parseCursor() takes a cursor of 0.7.0, which names no history", () => {
    expect(parseCursor("99999")).toEqual({ epoch: 0n, index: 99_999n });
  });

  test.each([
    ["abc", 'failed to parse cursor: strconv.ParseUint: parsing "abc": invalid syntax'],
    ["", 'failed to parse cursor: strconv.ParseUint: parsing "": invalid syntax'],
    ["-1", 'failed to parse cursor: strconv.ParseUint: parsing "-1": invalid syntax'],
    [
      "18446744073709551616",
      'failed to parse cursor: strconv.ParseUint: parsing "18446744073709551616": value out of range',
    ],
  ])("parseCursor() of %j says what 0.7.0 says", (text, message) => {
    expect(() => parseCursor(text)).toThrow(new CursorSyntaxError("", "").constructor as ErrorConstructor);
    expect(() => parseCursor(text)).toThrow(message);
  });
});

describe("readCursor()", () => {
  test("readCursor() calls a history as the store does, and writeCursor() finds the way back", () => {
    fc.assert(
      fc.property(fc.uuid(), fc.option(fc.uuid(), { nil: undefined }), index, (history, told, index) => {
        const text = formatCursor({ history, index });
        const cursor = readCursor(text, told);
        expect(writeCursor(cursor, true)).toBe(text);
        expect(readCursor(text, history)).toEqual({ history, index });
      }),
    );
  });

  test("readCursor() of a server of 0.7.0 is the index, and writeCursor() sends it nothing of another history", () => {
    const cursor = readCursor("42", undefined);
    expect(cursor.index).toBe(42n);
    expect(writeCursor(cursor, false)).toBe("42");
    expect(writeCursor({ history: "a", index: 42n }, false)).toBeUndefined();
  });
});
