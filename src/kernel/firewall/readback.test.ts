import { expect, test } from "vitest";
import { Readback } from "./readback.ts";

const WANTED = ["call", "-d 10.5.0.0/16 -j RETURN"];
const REWORDED = ["call", "-d 10.5.0.0/255.255.0.0 -j RETURN"];

test("Readback takes other words for the same once they were read right after a second write", () => {
  const readback = new Readback();
  expect(readback.wrote("a", WANTED)).toBe(false);
  expect(readback.equal("a", WANTED, WANTED)).toBe(true);
  expect(readback.equal("a", WANTED, REWORDED)).toBe(false);
  expect(readback.wrote("a", WANTED)).toBe(true);
  readback.read("a", WANTED, REWORDED);
  expect(readback.equal("a", WANTED, REWORDED)).toBe(true);
  expect(readback.equal("b", WANTED, REWORDED)).toBe(false);
  expect(readback.equal("a", REWORDED, WANTED)).toBe(false);
});

test("Readback takes a rule more or less for what somebody did, never for other words", () => {
  const readback = new Readback();
  readback.read("a", WANTED, [...WANTED, "-j ACCEPT"]);
  expect(readback.equal("a", WANTED, [...WANTED, "-j ACCEPT"])).toBe(false);
});
