import { expect, test } from "vitest";
import { isAlive, processId } from "./process-id.ts";

test("processId() tells this process from a later one with its pid", () => {
  const self = processId(process.pid);
  if (self === undefined) throw new Error("this process is not there");
  expect(isAlive(self)).toBe(true);
  expect(isAlive({ ...self, startTime: `${self.startTime}0` })).toBe(false);
});

test("processId() is undefined where no process is", () => {
  expect(processId(0x7fff_fff0)).toBeUndefined();
});
