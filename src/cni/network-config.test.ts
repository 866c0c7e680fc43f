import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CniError } from "./cni-error.ts";
import type { JsonObject } from "./json-object.ts";
import { parseNetworkConfig } from "./network-config.ts";

const MINIMAL = { cniVersion: "1.0.0", name: "cbr0", type: "flannel" };

function refusal(fields: JsonObject): string {
  try {
    parseNetworkConfig({ ...MINIMAL, ...fields });
  } catch (error) {
    if (error instanceof CniError) return `${error.code} ${error.message}`;
    throw error;
  }
  throw new Error("accepted");
}

describe("parseNetworkConfig()", () => {
  test("parseNetworkConfig() fills in what most configs leave out", () => {
    expect(parseNetworkConfig(MINIMAL)).toEqual({
      cniVersion: "1.0.0",
      name: "cbr0",
      subnetFile: "/run/flannel/subnet.env",
      dataDir: "/var/lib/cni/flannel",
      delegate: { type: "bridge" },
      ipam: {},
      runtimeConfig: undefined,
      prevResult: undefined,
      validAttachments: undefined,
    });
  });

  test("parseNetworkConfig() takes a config without a version for one of 0.1.0", () => {
    expect(parseNetworkConfig({ name: "old", cniVersion: "" }).cniVersion).toBe("0.1.0");
    expect(parseNetworkConfig({ name: "old" }).cniVersion).toBe("0.1.0");
  });

  test("parseNetworkConfig() reads attachments under both names, and null as none", () => {
    const attachments = [{ containerID: "c1", ifname: "eth0" }];
    const read = (fields: JsonObject) => parseNetworkConfig({ ...MINIMAL, ...fields }).validAttachments;
    expect(read({ "cni.dev/valid-attachments": attachments, "cni.dev/attachments": [] })).toEqual(attachments);
    expect(read({ "cni.dev/attachments": attachments })).toEqual(attachments);
    expect(read({ "cni.dev/valid-attachments": null })).toEqual([]);
  });

  test.each<[JsonObject, string]>([
    [
      { cniVersion: "2.0.0" },
      '1 cniVersion is "2.0.0"; this plugin knows 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0',
    ],
    [{ cniVersion: 1 }, "1 cniVersion is 1; this plugin knows"],
    [{ name: undefined }, "7 name is missing: letters,"],
    [{ name: "../x" }, '7 name is "../x": letters,'],
    [{ subnetFile: 5 }, "7 subnetFile is 5: a path is expected"],
    [{ dataDir: "a\0b" }, '7 dataDir is "a\\u0000b": a path is expected'],
    [{ delegate: "bridge" }, '7 delegate is "bridge": an object is expected'],
    [{ delegate: { name: "x" } }, '2 delegate.name is "x", but flannel itself says it'],
    [{ delegate: { ipam: {} } }, "2 delegate.ipam is {}, but flannel itself says it; fields for it belong in `ipam`"],
    [{ delegate: { type: 7 } }, "7 delegate.type is 7: the name of a plugin is expected"],
    [
      { delegate: { type: "../../bin/sh" } },
      '7 delegate.type is "../../bin/sh": the name of a program in CNI_PATH is expected',
    ],
    [{ delegate: { type: ".." } }, '7 delegate.type is "..": the name of a program in CNI_PATH is expected'],
    [{ delegate: { type: "flannel" } }, '7 delegate.type is "flannel": flannel would call itself without end'],
    [{ ipam: [] }, "7 ipam is []: an object is expected"],
    [{ "cni.dev/valid-attachments": {} }, "7 cni.dev/valid-attachments is {}: a list is expected"],
    [
      { "cni.dev/valid-attachments": ["c1"] },
      '7 cni.dev/valid-attachments is "c1": an object with containerID and ifname',
    ],
    [{ "cni.dev/valid-attachments": [{ containerID: "../x", ifname: "eth0" }] }, "7 cni.dev/valid-attachments is"],
  ])("parseNetworkConfig() refuses %j", (fields, reason) => {
    expect(refusal(fields)).toContain(reason);
  });

  test("parseNetworkConfig() throws nothing but a CniError, whatever the JSON", () => {
    const keys = [
      "cniVersion",
      "name",
      "subnetFile",
      "dataDir",
      "delegate",
      "ipam",
      "cni.dev/attachments",
      "prevResult",
    ];
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...keys), fc.jsonValue()), (fields) => {
        try {
          parseNetworkConfig({ ...MINIMAL, ...fields });
        } catch (error) {
          expect(error).toBeInstanceOf(CniError);
        }
      }),
    );
  });
});
