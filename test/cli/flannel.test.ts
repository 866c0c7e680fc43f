import { expect, test } from "vitest";
import { version } from "../../src/cli/version.ts";
import { flannel, run } from "./program.ts";

test("flannel shows the version on standard output", async () => {
  expect(await run(flannel, ["version"])).toEqual({
    end: 0,
    stdout: expect.stringContaining(version) as string,
    stderr: "",
  });
});

test("flannel shows its commands where asked for help", async () => {
  const { end, stdout, stderr } = await run(flannel, ["--help"]);
  expect([end, stderr]).toEqual([0, ""]);
  expect(stdout).toMatch(/^ {2}flannel lab /m);
});

test.each([
  [[], "a command is missing"],
  [["nope"], "Unknown argument: nope"],
  [["version", "--nope"], "Unknown argument: nope"],
  [["lab", "nope"], "Unknown argument: nope"],
])("flannel %j exits 2 with the reason below the usage, on standard error", async (args, reason) => {
  const { end, stdout, stderr } = await run(flannel, args);
  expect([end, stdout]).toEqual([2, ""]);
  expect(stderr.trimEnd().split("\n").at(-1)).toBe(`flannel: ${reason}`);
});
