import { describe, expect, test } from "vitest";
import type { Json } from "../../lease/lease.ts";
import { InvalidConfigError } from "../../lib/errors.ts";
import { parseLeaseData, type VxlanLeaseData } from "./lease-data.ts";

const MAC = "66:72:44:0d:7e:1a";

describe("parseLeaseData()", () => {
  test.each<[Json, Partial<VxlanLeaseData>]>([
    [{ VtepMAC: MAC }, {}],
    [{ VNI: 7, VtepMAC: MAC }, { vni: 7 }],
    [{ vtepmac: MAC, vni: 7 }, { vni: 7 }],
    [{ VtepMAC: MAC.toUpperCase() }, {}],
    [{ VtepMAC: MAC.replaceAll(":", "-") }, {}],
    [{ VtepMAC: MAC, VNI: null }, {}],
    [{ VtepMAC: MAC, Gateway: "10.5.1.0" }, {}],
    [{ VtepMAC: MAC, VNI: 7, Gateway: "10.5.1.0" }, { vni: 7 }],
    [{ VtepMAC: "00:00:00:00:00:01", vtepmac: MAC }, {}],
    [{ VtepMAC: MAC, vni: 7 }, { vni: 7 }],
  ])("parseLeaseData() reads %j", (data, expected) => {
    expect(parseLeaseData(data)).toEqual({ vtepMac: MAC, ...expected });
  });

  test.each<[Json | undefined, string]>([
    [undefined, "BackendData.VtepMAC"],
    [[MAC], "BackendData"],
    [{ VtepMAC: 7 }, "BackendData.VtepMAC"],
    [{ VtepMAC: `${MAC}\n` }, "BackendData.VtepMAC"],
    [{ VtepMAC: "01:72:44:0d:7e:1a" }, "BackendData.VtepMAC"],
    [{ VtepMAC: "00:00:00:00:00:00" }, "BackendData.VtepMAC"],
    [{ VtepMAC: MAC, VNI: "7" }, "BackendData.VNI"],
    [{ VtepMAC: MAC, VNI: -1 }, "BackendData.VNI"],
    [{ VtepMAC: MAC, VNI: 0x100_0000 }, "BackendData.VNI"],
    [{ VtepMAC: MAC, VNI: 1.5 }, "BackendData.VNI"],
    [{ VtepMAC: MAC, vtepmac: "x" }, "BackendData.VtepMAC"],
  ])("parseLeaseData() refuses %j, naming %s", (data, field) => {
    expect(() => parseLeaseData(data)).toThrow(InvalidConfigError);
    expect(() => parseLeaseData(data)).toThrow(field);
  });
});
