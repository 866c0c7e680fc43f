import { describe, expect, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { parseMacAddress } from "../ip/mac-address.ts";
import { parsePrefix } from "../ip/prefix.ts";
import type { Link, RouteRow, VxlanRow } from "./kernel.ts";
import { compatibleVxlan, linkRows, routeRows, sysctlRows } from "./rows.ts";

const row: VxlanRow = {
  kind: "vxlan",
  name: "flannel.1",
  mac: parseMacAddress("c6:df:8a:93:40:f8"),
  mtu: 1450,
  vni: 1,
  local: parseAddress("192.0.2.1"),
  lower: "eth0",
  port: 0,
  gbp: false,
  learning: false,
};

const link: Link = {
  index: 5,
  name: "flannel.1",
  kind: "vxlan",
  mac: parseMacAddress("02:00:00:00:00:01"),
  mtu: 1400,
  up: false,
  running: false,
  loopback: false,
  master: undefined,
  lower: "eth0",
  vxlan: { vni: 1, local: parseAddress("192.0.2.1"), lower: "eth0", port: 8472, gbp: false, learning: false },
};

describe("compatibleVxlan()", () => {
  test("is true whatever the MAC, the MTU and the state, and where port 0 means the kernel's default", () => {
    expect(compatibleVxlan(row, link)).toBe(true);
    expect(compatibleVxlan({ ...row, port: 8472 }, link)).toBe(true);
  });

  test.for([
    { what: "VNI", change: { vni: 2 } },
    { what: "port", change: { port: 4789 } },
    { what: "local address", change: { local: parseAddress("192.0.2.2") } },
    { what: "family", change: { local: parseAddress("::c000:201") } },
    { what: "lower link", change: { lower: "eth1" } },
    { what: "gbp", change: { gbp: true } },
    { what: "learning", change: { learning: true } },
  ])("is false for another $what", ({ change }) => {
    expect(compatibleVxlan({ ...row, ...change }, link)).toBe(false);
  });

  test("is false for a device of another kind or without a local address", () => {
    expect(compatibleVxlan(row, { ...link, kind: "bridge", vxlan: undefined })).toBe(false);
    const vxlan = { vni: 1, local: undefined, lower: "eth0", port: 8472, gbp: false, learning: false };
    expect(compatibleVxlan(row, { ...link, vxlan })).toBe(false);
  });
});

test("linkRows.equal() is false while the device is down", () => {
  expect(linkRows.equal(row, { ...row, port: 8472 })).toBe(true);
  expect(linkRows.equal(row, { ...row, up: false })).toBe(false);
});

describe("routeRows", () => {
  const direct: RouteRow = { destination: parsePrefix("10.5.0.0/16"), link: "flannel.1", onlink: false };
  const via: RouteRow = { ...direct, gateway: parseAddress("10.5.2.0"), onlink: true };

  test("equal() compares scope without a gateway, and not for IPv6", () => {
    expect(routeRows.equal(direct, { ...direct, scope: "link" })).toBe(true);
    expect(routeRows.equal(direct, { ...direct, scope: "global" })).toBe(false);
    const six: RouteRow = { ...direct, destination: parsePrefix("fd00::/64") };
    expect(routeRows.equal(six, { ...six, scope: "global" })).toBe(true);
  });

  test("equal() compares gateway, onlink and link", () => {
    expect(routeRows.equal(via, { ...via, scope: "global" })).toBe(true);
    expect(routeRows.equal(via, direct)).toBe(false);
    expect(routeRows.equal(via, { ...via, onlink: false })).toBe(false);
    expect(routeRows.equal(via, { ...via, link: "eth0" })).toBe(false);
    expect(routeRows.equal(via, { ...via, gateway: parseAddress("10.5.3.0") })).toBe(false);
  });

  test("format() is what a person would write", () => {
    expect(routeRows.format(via)).toBe("10.5.0.0/16 via 10.5.2.0 dev flannel.1 onlink");
    expect(routeRows.format(direct)).toBe("10.5.0.0/16 dev flannel.1");
  });
});

test("sysctlRows.equal() minds no tabs and line ends", () => {
  expect(sysctlRows.equal({ key: "a", value: "1 2" }, { key: "a", value: "1\t2\n" })).toBe(true);
  expect(sysctlRows.equal({ key: "a", value: "1" }, { key: "a", value: "2" })).toBe(false);
});
