import { expect, test } from "vitest";
import { labOptions, parseBackend, type UpArguments } from "./command-options.ts";

const args: UpArguments = {
  hosts: 3,
  backend: "vxlan",
  store: "embedded",
  network: "10.5.0.0/16",
  pods: 1,
  mtu: 1500,
  ipv6: undefined,
  name: undefined,
  flag: [],
  flanneld: undefined,
};

test("parseBackend() takes a type or the whole object", () => {
  expect(parseBackend("host-gw")).toBe("host-gw");
  expect(parseBackend(' {"Type":"vxlan","VNI":7}')).toEqual({ Type: "vxlan", VNI: 7 });
});

test.each(['{"VNI":7}', '{"Type":7}', "{Type}"])("parseBackend(%j) is refused", (text) => {
  expect(() => parseBackend(text)).toThrow("--backend: ");
});

test.each([
  [{ hosts: 0 }, "--hosts: not a whole number of at least 1: 0"],
  [{ hosts: Number.NaN }, "--hosts: "],
  [{ pods: -1 }, "--pods: "],
  [{ pods: 1.5 }, "--pods: "],
  [{ mtu: 100 }, "--mtu: not a whole number of at least 576: 100"],
])("labOptions(%j) names the option and the value", (change, message) => {
  expect(() => labOptions({ ...args, ...change })).toThrow(message);
});

test.each([
  [undefined, undefined],
  ["", "too"],
  ["only", "only"],
] as const)("labOptions() takes --ipv6=%s for %s", (text, families) => {
  expect(labOptions({ ...args, ipv6: text }).ipv6).toBe(families);
});

test("labOptions() refuses another word after --ipv6", () => {
  expect(() => labOptions({ ...args, ipv6: "4" })).toThrow('--ipv6: must be "too", the default, or "only", not "4"');
});
