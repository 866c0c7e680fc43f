import { expect, test } from "vitest";
import { formatVersions, requireCommandOf } from "./cni-version.ts";

test("requireCommandOf() refuses commands that came later than the config's version", () => {
  expect(() => requireCommandOf("0.3.1", "CHECK")).toThrow(
    "cniVersion 0.3.1 of the network's config has no CHECK, which came with 0.4.0",
  );
  expect(() => requireCommandOf("1.0.0", "GC")).toThrow("which came with 1.1.0");
  expect(() => requireCommandOf("0.4.0", "CHECK")).not.toThrow();
  expect(() => requireCommandOf("0.1.0", "ADD")).not.toThrow();
});

test("formatVersions() answers in the version that it was asked in, if it knows it", () => {
  const supportedVersions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
  expect(JSON.parse(formatVersions("0.4.0"))).toEqual({ cniVersion: "0.4.0", supportedVersions });
  expect(JSON.parse(formatVersions("9.0.0"))).toEqual({ cniVersion: "1.1.0", supportedVersions });
  expect(JSON.parse(formatVersions(undefined))).toEqual({ cniVersion: "1.1.0", supportedVersions });
});
