import { expect, test } from "vitest";
import { takesColors } from "./terminal.ts";

test("takesColors() of a terminal that has some, and of nothing else", () => {
  expect(takesColors({ isTTY: true, hasColors: () => true })).toBe(true);
  expect(takesColors({ isTTY: true, hasColors: () => false })).toBe(false);
  expect(takesColors({})).toBe(false); // a pipe, a file
});
