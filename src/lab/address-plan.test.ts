import * as fc from "fast-check";
import { expect, test } from "vitest";
import { formatAddress } from "../ip/address.ts";
import { formatPrefix, parsePrefix } from "../ip/prefix.ts";
import {
  chooseUnderlay,
  hostAddress,
  namespacePrefix,
  parseLabName,
  podNamespace,
  switchAddress,
} from "./address-plan.ts";

const underlay = parsePrefix("192.168.77.0/24");

test("hostAddress() counts from the underlay's first address, and the switch has the last", () => {
  expect(formatAddress(hostAddress(underlay, 1))).toBe("192.168.77.1");
  expect(formatAddress(hostAddress(underlay, 253))).toBe("192.168.77.253");
  expect(formatAddress(switchAddress(underlay))).toBe("192.168.77.254");
});

test("hostAddress() says how many hosts there is room for", () => {
  expect(() => hostAddress(underlay, 254)).toThrow("hosts: a lab has room for 253 hosts");
});

test("chooseUnderlay() avoids what is taken", () => {
  expect(formatPrefix(chooseUnderlay([]))).toBe("192.168.77.0/24");
  expect(formatPrefix(chooseUnderlay([parsePrefix("192.168.0.0/16")]))).toBe("172.30.77.0/24");
});

test("chooseUnderlay() gives up if everything is taken", () => {
  expect(() => chooseUnderlay([parsePrefix("0.0.0.0/0")])).toThrow("network: leaves none");
});

test("namespacePrefix() of one lab never begins a namespace of another", () => {
  const name = fc.stringMatching(/^[a-z][a-z0-9]{0,15}$/).map(parseLabName);
  fc.assert(
    fc.property(name, name, (one, other) => {
      fc.pre(one !== other);
      expect(podNamespace(one, "h1", "p1").startsWith(namespacePrefix(other))).toBe(false);
    }),
  );
});

test.each(["", "a-b", "A", "1a", "a/b", "ü", "a b", "a\n", "a".repeat(17)])("parseLabName(%j) is refused", (text) => {
  expect(() => parseLabName(text)).toThrow("name: a lab's name is");
});
