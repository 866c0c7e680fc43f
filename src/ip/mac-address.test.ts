import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  decodeMacAddress,
  encodeMacAddress,
  isUnicastMacAddress,
  localMacAddress,
  parseMacAddress,
} from "./mac-address.ts";

const sixBytes = fc.uint8Array({ minLength: 6, maxLength: 6 });

describe("MAC addresses", () => {
  test("encodeMacAddress() reads back what decodeMacAddress() writes", () => {
    fc.assert(
      fc.property(sixBytes, (bytes) => {
        const mac = decodeMacAddress(bytes);
        expect(encodeMacAddress(mac)).toEqual(bytes);
        expect(parseMacAddress(mac)).toBe(mac);
      }),
    );
  });

  test("parseMacAddress() reads either case, colons and hyphens", () => {
    for (const text of ["C6:DF:8A:93:40:F8", "c6-df-8a-93-40-f8"])
      expect(parseMacAddress(text)).toBe("c6:df:8a:93:40:f8");
  });

  test.each([
    "",
    "c6:df:8a:93:40",
    "c6:df:8a:93:40:f8:00",
    "c6:df:8a-93:40:f8",
    "c6df8a9340f8",
    "c6:df:8a:93:40:g8",
    " c6:df:8a:93:40:f8",
    "c6:df:8a:93:40:f8\n",
    "c6:df:8a:93:40:f",
  ])("parseMacAddress() refuses %j", (text) => {
    expect(() => parseMacAddress(text)).toThrow(`not a MAC address: ${JSON.stringify(text)}`);
  });

  test("decodeMacAddress() refuses other lengths", () => {
    for (const length of [0, 5, 7]) expect(() => decodeMacAddress(new Uint8Array(length))).toThrow(RangeError);
  });

  test("localMacAddress() is locally administered and of one station, whatever the dice say", () => {
    fc.assert(
      fc.property(sixBytes, (bytes) => {
        const mac = localMacAddress(bytes);
        expect(isUnicastMacAddress(mac)).toBe(true);
        expect((encodeMacAddress(mac)[0] ?? 0) & 3).toBe(2);
        expect(encodeMacAddress(mac).subarray(1)).toEqual(bytes.subarray(1));
      }),
    );
  });

  test("isUnicastMacAddress() is false for groups, broadcast and nothing", () => {
    const claims = ["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "00:00:00:00:00:01"].map((text) =>
      isUnicastMacAddress(parseMacAddress(text)),
    );
    expect(claims).toEqual([false, false, false, true]);
  });
});
