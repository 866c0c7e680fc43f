import { describe, expect, test } from "vitest";
import { parseAwsVpcOptions } from "./options.ts";

describe("parseAwsVpcOptions()", () => {
  test.each([
    [{}, []],
    [{ RouteTableID: "" }, []],
    [{ RouteTableID: [] }, []],
    [{ routetableid: "rtb-0a1b2c3d" }, ["rtb-0a1b2c3d"]],
    [
      { RouteTableID: ["rtb-0a1b2c3d", "rtb-0123456789abcdef0", "rtb-0a1b2c3d"] },
      ["rtb-0a1b2c3d", "rtb-0123456789abcdef0"],
    ],
  ])("reads the route tables of %j", (json, routeTables) => {
    expect(parseAwsVpcOptions(json)).toEqual({ routeTables, checkInterval: 600 });
  });

  test.each([
    [
      { RouteTableID: "rtb-" },
      'Backend.RouteTableID: must be a route table\'s id, as rtb-0a1b2c3d, or a list of them, not "rtb-"',
    ],
    [{ RouteTableID: ["rtb-0a1b2c3d", 7] }, "or a list of them, not 7"],
    [{ RouteTableID: { Id: "rtb-0a1b2c3d" } }, 'not {"Id":"rtb-0a1b2c3d"}'],
    [{ RouteTableID: Array.from({ length: 201 }, () => "rtb-0a1b2c3d") }, "must name at most 200 tables, not 201"],
    [{ CheckInterval: 4 }, "Backend.CheckInterval: must be a whole number from 5 to 86400, not 4"],
  ])("refuses %j by name", (json, message) => {
    expect(() => parseAwsVpcOptions(json)).toThrow(message);
  });
});
