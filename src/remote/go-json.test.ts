import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatGoJson, formatGoTime, goSyntaxError } from "./go-json.ts";

describe("formatGoJson()", () => {
  test("formatGoJson() writes what HTML knows as Go does, and ends with a newline", () => {
    expect(formatGoJson({ a: "<b>&\u2028" })).toBe('{"a":"\\u003cb\\u003e\\u0026\\u2028"}\n');
  });

  test("formatGoJson() stays the same value", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(JSON.parse(formatGoJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });
});

describe("formatGoTime()", () => {
  test.each([
    ["2026-11-23T20:32:04.458Z", "2026-11-23T20:32:04.458Z"],
    ["2026-11-23T20:32:04.450Z", "2026-11-23T20:32:04.45Z"],
    ["2026-11-23T20:32:40.000Z", "2026-11-23T20:32:40Z"],
  ])("formatGoTime() of %s is %s", (time, text) => {
    expect(formatGoTime(new Date(time))).toBe(text);
  });

  test("formatGoTime() of no time is Go's zero time", () => {
    expect(formatGoTime(undefined)).toBe("0001-01-01T00:00:00Z");
  });
});

describe("goSyntaxError()", () => {
  // What Go's encoding/json says.
  test.each([
    ["{bad", "invalid character 'b' looking for beginning of object key string"],
    ["", "unexpected end of JSON input"],
    ["  ", "unexpected end of JSON input"],
    ["{", "unexpected end of JSON input"],
    ['{"a"', "unexpected end of JSON input"],
    ['{"a":1', "unexpected end of JSON input"],
    ['{"a" 1}', "invalid character '1' after object key"],
    ['{"a":1 "b"}', "invalid character '\"' after object key:value pair"],
    ['{"a":1,}', "invalid character '}' looking for beginning of object key string"],
    ["[1 2]", "invalid character '2' after array element"],
    ["[1,]", "invalid character ']' looking for beginning of value"],
    ["nope", "invalid character 'o' in literal null (expecting 'u')"],
    ["trux", "invalid character 'x' in literal true (expecting 'e')"],
    ["01", "invalid character '1' after top-level value"],
    ["1.x", "invalid character 'x' after decimal point in numeric literal"],
    ["1e", "unexpected end of JSON input"],
    ["-x", "invalid character 'x' in numeric literal"],
    ['"\\x"', "invalid character 'x' in string escape code"],
    ['"\\u12g4"', "invalid character 'g' in \\u hexadecimal character escape"],
    ['"a\nb"', "invalid character '\\n' in string literal"],
    ["{'a':1}", "invalid character '\\'' looking for beginning of object key string"],
    ["{}x", "invalid character 'x' after top-level value"],
    ["é", "invalid character 'é' looking for beginning of value"],
  ])("goSyntaxError() of %j is %j", (text, message) => {
    expect(goSyntaxError(text)).toBe(message);
  });

  test("goSyntaxError() takes all that is JSON", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.nat({ max: 2 }), (value, indent) => {
        expect(goSyntaxError(JSON.stringify(value, undefined, indent))).toBeUndefined();
      }),
    );
  });

  test("goSyntaxError() and JSON.parse() agree on what is none", () => {
    const piece = fc.constantFrom(
      "{",
      "}",
      "[",
      "]",
      ",",
      ":",
      '"',
      "a",
      "1",
      "-",
      ".",
      "e",
      "true",
      "null",
      " ",
      "\\",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const text = pieces.join("");
        const isJson = (() => {
          try {
            JSON.parse(text);
            return true;
          } catch {
            return false;
          }
        })();
        expect(goSyntaxError(text) === undefined).toBe(isJson);
      }),
      { numRuns: 1000 },
    );
  });
});
