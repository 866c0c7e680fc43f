import { expect, test } from "vitest";
import { isComplete, renderMatrix, summarize } from "./matrix.ts";

const plain = { colors: false };
const answered = [
  { from: "h1/p1", to: "h2/p1", address: "10.5.2.2", time: 0.123 },
  { from: "h2/p1", to: "h1/p1", address: "10.5.1.2", time: 12.6 },
];
const halfDead = [
  answered[0] ?? expect.fail(),
  { from: "h2/p1", to: "h1/p1", address: "10.5.1.2", time: undefined, reason: "no answer" },
];

test("renderMatrix() has a row per sender and a column per receiver", () => {
  expect(renderMatrix(answered, plain)).toBe(
    ["from \\ to  h1/p1  h2/p1", "h1/p1      ·      0.12 ms", "h2/p1      13 ms  ·"].join("\n"),
  );
});

test("renderMatrix() marks who was not reached and says why below", () => {
  expect(renderMatrix(halfDead, plain).split("\n").slice(2)).toEqual([
    "h2/p1      ✗      ·",
    "h2/p1 cannot reach h1/p1: no answer",
  ]);
});

test("renderMatrix() has a table for each family where there are two", () => {
  const ipv6 = answered.map((result) => ({ ...result, address: "fd00:5:0:1::2" }));
  const one = renderMatrix(answered, plain);
  expect(renderMatrix([...answered, ...ipv6], plain)).toBe(`IPv4\n${one}\n\nIPv6\n${one}`);
  expect(renderMatrix(ipv6, plain)).toBe(one);
});

test("renderMatrix() uses colours only if asked", () => {
  expect(renderMatrix(answered, plain)).not.toContain("\u001b");
  expect(renderMatrix(answered, { colors: true })).toContain("\u001b[32m0.12 ms");
});

test("summarize() counts the pairs that answered", () => {
  expect(summarize(halfDead, plain)).toBe("1 of 2 pairs of pods reach each other");
});

test("isComplete() is false for one dead pair, and for none at all", () => {
  expect([isComplete(answered), isComplete(halfDead), isComplete([])]).toEqual([true, false, false]);
});
