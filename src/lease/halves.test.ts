import { expect, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { parsePrefix } from "../ip/prefix.ts";
import { halfOf, subnetsOf } from "./halves.ts";
import type { Lease } from "./lease.ts";

const DUAL: Lease = {
  subnet: parsePrefix("10.5.1.0/24"),
  ipv6Subnet: parsePrefix("fd00:5:0:1::/64"),
  attributes: {
    publicIP: parseAddress("192.0.2.1"),
    publicIPv6: parseAddress("2001:db8::1"),
    backendType: "vxlan",
    backendData: { VtepMAC: "66:72:44:0d:7e:04" },
    backendV6Data: { VtepMAC: "66:72:44:0d:7e:06" },
  },
  isReservation: false,
  expiresAt: 7,
  revision: 3n,
};

test("halfOf() gives the IPv6 half of a lease as a lease of IPv6 alone", () => {
  expect(halfOf(DUAL, 6)).toEqual({
    subnet: DUAL.ipv6Subnet,
    attributes: {
      publicIP: parseAddress("2001:db8::1"),
      backendType: "vxlan",
      backendData: { VtepMAC: "66:72:44:0d:7e:06" },
    },
    isReservation: false,
    expiresAt: 7,
    revision: 3n,
  });
});

test("halfOf() gives the lease itself for its first family, and always the same object for the second", () => {
  expect(halfOf(DUAL, 4)).toBe(DUAL);
  expect(halfOf(DUAL, 6)).toBe(halfOf(DUAL, 6));
  const only = halfOf(DUAL, 6);
  expect(only && halfOf(only, 6)).toBe(only);
});

test("halfOf() has nothing of a family that the lease has no subnet or no address of", () => {
  const { ipv6Subnet: _, ...ipv4 } = DUAL;
  expect(halfOf(ipv4, 6)).toBeUndefined();
  const { publicIPv6: __, ...attributes } = DUAL.attributes;
  expect(halfOf({ ...DUAL, attributes }, 6)).toBeUndefined();
  const only = halfOf(DUAL, 6);
  expect(only && halfOf(only, 4)).toBeUndefined();
});

test("subnetsOf() names the IPv4 subnet first", () => {
  expect(subnetsOf(DUAL)).toEqual([parsePrefix("10.5.1.0/24"), parsePrefix("fd00:5:0:1::/64")]);
});
