import { expect, test } from "vitest";
import { formatPrefix } from "../../ip/prefix.ts";
import { parseVxlanOptions } from "./options.ts";

test("parseVxlanOptions() has 0.7.0's defaults", () => {
  expect(parseVxlanOptions({ Type: "vxlan" })).toEqual({ vni: 1, port: 0, gbp: false, acceptFrom: [] });
});

test("parseVxlanOptions() takes keys in any case, null as absent, and all that the kernel takes", () => {
  expect(parseVxlanOptions({ vni: 0, PORT: 65_535, Gbp: true })).toEqual({
    vni: 0,
    port: 65_535,
    gbp: true,
    acceptFrom: [],
  });
  expect(parseVxlanOptions({ VNI: 16_777_215, Port: null })).toEqual({
    vni: 16_777_215,
    port: 0,
    gbp: false,
    acceptFrom: [],
  });
});

test("parseVxlanOptions() reads whom to let in besides peers", () => {
  expect(parseVxlanOptions({ acceptfrom: ["192.0.2.7", "198.51.100.0/24"] }).acceptFrom.map(formatPrefix)).toEqual([
    "192.0.2.7/32",
    "198.51.100.0/24",
  ]);
  expect(() => parseVxlanOptions({ AcceptFrom: "all" })).toThrow('Backend.AcceptFrom: must be "peers", "any"');
});

test.each([
  [{ VNI: 16_777_216 }, "Backend.VNI: must be a whole number from 0 to 16777215, not 16777216"],
  [{ VNI: -1 }, "Backend.VNI: must be a whole number from 0 to 16777215, not -1"],
  [{ VNI: 1.5 }, "Backend.VNI: must be a whole number from 0 to 16777215, not 1.5"],
  [{ VNI: "1" }, 'Backend.VNI: must be a number, not "1"'],
  [{ VNI: [1] }, "Backend.VNI: must be a number, not [1]"],
  [{ Port: 65_536 }, "Backend.Port: must be a whole number from 0 to 65535, not 65536"],
  [{ port: -8472 }, "Backend.Port: must be a whole number from 0 to 65535, not -8472"],
  [{ Port: true }, "Backend.Port: must be a number, not true"],
  [{ GBP: "yes" }, 'Backend.GBP: must be a boolean, not "yes"'],
  [{ GBP: 1 }, "Backend.GBP: must be a boolean, not 1"],
  ["vxlan", 'Backend: must be a JSON object, not "vxlan"'],
  [[], "Backend: must be a JSON object, not []"],
])("parseVxlanOptions() of %j names field and value", (json, message) => {
  expect(() => parseVxlanOptions(json)).toThrow(message);
});
