import { describe, expect, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { parsePrefix } from "../ip/prefix.ts";
import type { CloudRoute, LeadsTo, RouteClaim } from "./cloud.ts";
import { CloudError } from "./cloud-error.ts";
import { FakeCloud } from "./fake-cloud.ts";
import { formatClaim, formerRoutes, sameClaim } from "./former-claim.ts";

const options = { signal: new AbortController().signal };

function claim(subnets: readonly string[], routeTables: readonly string[] = []): RouteClaim {
  return { cloud: "vpc", address: parseAddress("192.0.2.1"), routeTables, subnets: subnets.map(parsePrefix) };
}

function route(destination: string, leadsTo: LeadsTo = "self", table?: string): CloudRoute {
  const target = leadsTo === "self" ? "eni-1" : "eni-9";
  return { table, destination: parsePrefix(destination), target, leadsTo };
}

async function given(former: RouteClaim, routes: readonly CloudRoute[], kept?: RouteClaim) {
  const cloud = new FakeCloud();
  for (const each of routes) cloud.api.putByHand(each);
  const table = await formerRoutes(cloud, former, kept, options);
  const removeAll = async () => await table.apply({ puts: [], removals: await table.list(options) }, options);
  return { api: cloud.api, table, removeAll };
}

describe("formerRoutes()", () => {
  test("removes what leads to this instance, of the claim's subnets of both families, and nothing else", async () => {
    const { api, removeAll } = await given(claim(["10.5.3.0/24", "fd00:5:0:3::/64"]), [
      route("10.5.3.0/24"),
      route("fd00:5:0:3::/64"),
      route("10.5.4.0/24"),
      route("10.5.0.0/16"),
    ]);
    expect(await removeAll()).toEqual([]);
    expect(api.log).toEqual([
      "remove route 10.5.3.0/24 via eni-1 in rtb-1",
      "remove route fd00:5:0:3::/64 via eni-1 in rtb-1",
    ]);
  });

  test.each(["instance", "nowhere", "elsewhere"] as const)("leaves a route alone that leads %s", async (leadsTo) => {
    const { table, api, removeAll } = await given(claim(["10.5.3.0/24"]), [route("10.5.3.0/24", leadsTo)]);
    expect(await table.list(options)).toEqual([]);
    await removeAll();
    expect(api.log).toEqual([]);
  });

  test("leaves a route alone that was made another's after it was listed", async () => {
    const { api, table } = await given(claim(["10.5.3.0/24"]), [route("10.5.3.0/24")]);
    const removals = await table.list(options);
    api.putByHand(route("10.5.3.0/24", "instance"));
    expect(await table.apply({ puts: [], removals }, options)).toEqual([]);
    expect(api.log).toEqual([]);
  });

  test.each([
    ["by its id, and now as the subnet's", ["rtb-1"], []],
    ["as the subnet's, and now by its id", [], ["rtb-1"]],
  ])("keeps what is claimed now, where the table was named %s", async (_, before, now) => {
    const routes = [route("10.5.3.0/24", "self", "rtb-1"), route("10.5.3.0/24", "self", "rtb-2")];
    const former = claim(["10.5.3.0/24"], before.length === 0 ? [] : [...before, "rtb-2"]);
    const { api, removeAll } = await given(former, routes, claim(["10.5.3.0/24"], now));
    await removeAll();
    expect(api.log).toEqual(["remove route 10.5.3.0/24 via eni-1 in rtb-2"]);
  });

  test("removes the routes of a family that the network does not have any more, and keeps the other's", async () => {
    const routes = [route("10.5.3.0/24"), route("fd00:5:0:3::/64")];
    const { api, removeAll } = await given(claim(["10.5.3.0/24", "fd00:5:0:3::/64"]), routes, claim(["10.5.3.0/24"]));
    await removeAll();
    expect(api.log).toEqual(["remove route fd00:5:0:3::/64 via eni-1 in rtb-1"]);
  });

  test("tells what could not be removed, and removes the others", async () => {
    const { api, removeAll } = await given(claim(["10.5.3.0/24"]), [route("10.5.3.0/24")]);
    api.failures.set("remove", new CloudError("permission", "not allowed"));
    expect(await removeAll()).toEqual([
      expect.objectContaining({ error: expect.objectContaining({ kind: "permission" }) }),
    ]);
  });
});

describe("sameClaim()", () => {
  const one = claim(["10.5.3.0/24"], ["rtb-0a1b2c3d"]);

  test("is about the routes, not about the address that found the interface", () => {
    expect(sameClaim(one, { ...one, address: parseAddress("192.0.2.2") })).toBe(true);
    expect(sameClaim(one, claim(["10.5.3.0/24"]))).toBe(false);
    expect(sameClaim(one, { ...one, cloud: "compute-engine" })).toBe(false);
    expect(sameClaim(one, claim(["10.5.4.0/24"], ["rtb-0a1b2c3d"]))).toBe(false);
  });

  test("formatClaim() says where the routes are", () => {
    expect([one, claim(["10.5.3.0/24"]), { ...one, cloud: "compute-engine" } as const].map(formatClaim)).toEqual([
      "10.5.3.0/24 in rtb-0a1b2c3d",
      "10.5.3.0/24 in the route table of the instance's subnet",
      "10.5.3.0/24 in the routes of the project",
    ]);
  });
});
