import { describe, expect, test } from "vitest";
import { parsePrefix } from "../../ip/prefix.ts";
import { Keyspace } from "./keyspace.ts";

const keys = new Keyspace("/coreos.com/network");
const subnet = parsePrefix("10.5.34.0/24");

describe("Keyspace", () => {
  test("puts the unnamed network at the prefix and named ones below it", () => {
    expect(keys.config("")).toBe("/coreos.com/network/config");
    expect(keys.config("blue")).toBe("/coreos.com/network/blue/config");
    expect(keys.lease("", { subnet })).toBe("/coreos.com/network/subnets/10.5.34.0-24");
    expect(keys.lease("blue", { subnet, ipv6Subnet: parsePrefix("fc00::/64") })).toBe(
      "/coreos.com/network/blue/subnets/10.5.34.0-24&fc00::-64",
    );
    expect(new Keyspace("/").config("")).toBe("/config");
  });

  test("leases() begins and ends with the slash", () => {
    const { first, end } = keys.leases("");
    expect(first).toBe("/coreos.com/network/subnets/");
    const inside = (key: string) => key >= first && key < end;
    expect(inside("/coreos.com/network/subnets/10.5.34.0-24")).toBe(true);
    expect(inside("/coreos.com/network/subnets/~")).toBe(true);
    expect(inside("/coreos.com/network/subnets2/10.5.34.0-24")).toBe(false);
    expect(inside("/coreos.com/network/subnets")).toBe(false);
  });

  test("leasesOn() holds the subnet's key alone or with an IPv6 subnet, and no longer one", () => {
    const { first, end } = keys.leasesOn("", subnet);
    const inside = (rest: string) => `${first}${rest}` >= first && `${first}${rest}` < end;
    expect([inside(""), inside("&fc00::-64"), inside("0"), inside("-")]).toEqual([true, true, false, false]);
  });
});
