import { describe, expect, test } from "vitest";
import { parsePrefix } from "../ip/prefix.ts";
import { RecordingLogger } from "../lib/recording-logger.ts";
import type { CloudRoute, CloudScope, LeadsTo } from "./cloud.ts";
import { CloudError } from "./cloud-error.ts";
import { FakeRouteApi } from "./fake-cloud.ts";
import { pace } from "./pace.ts";
import { CloudRouteTable } from "./route-table.ts";

const { signal } = new AbortController();
const options = { signal };
const OWN = "10.5.3.0/24";

function route(destination: string, target = "eni-1", leadsTo: LeadsTo = "self", table?: string): CloudRoute {
  return { table, destination: parsePrefix(destination), target, leadsTo };
}

const IPV6: CloudScope = {
  network: parsePrefix("fd00:5::/48"),
  subnet: parsePrefix("fd00:5:0:3::/64"),
  isSubnet: ({ length }) => length === 64,
};

function given(
  routes: readonly CloudRoute[] = [],
  held: readonly string[] = [],
  otherFamily: readonly CloudScope[] = [],
) {
  const api = new FakeRouteApi();
  for (const each of routes) api.putByHand(each);
  const logger = new RecordingLogger();
  const scope = {
    network: parsePrefix("10.5.0.0/16"),
    subnet: parsePrefix(OWN),
    isSubnet: ({ length }: { readonly length: number }) => length === 24,
  };
  const isHeld = (subnet: { readonly address: { readonly value: bigint } }) =>
    held.some((each) => parsePrefix(each).address.value === subnet.address.value);
  const table = new CloudRouteTable({ api, scopes: [scope, ...otherFamily], isHeld, pace: pace(600_000), logger });
  const listed = async () => (await table.list(options)).map((row) => table.format(row)).toSorted();
  const put = (row: CloudRoute) => table.apply({ puts: [row], removals: [] }, options);
  const remove = (...rows: readonly CloudRoute[]) => table.apply({ puts: [], removals: rows }, options);
  return { api, table, logger, listed, put, remove };
}

describe("CloudRouteTable.list()", () => {
  test("shows what is this host's business and nothing else", async () => {
    const { listed } = given(
      [
        route(OWN),
        route("10.5.4.0/24"),
        route("10.5.5.0/24", "eni-5", "instance"),
        route("10.5.6.0/24", "eni-6", "nowhere"),
        route("10.5.7.0/24", "eni-7", "nowhere"),
        route("10.5.8.0/25"),
        route("10.5.0.0/16"),
        route("10.5.9.0/24", "igw-1", "elsewhere"),
        route("10.9.0.0/24"),
        route("10.9.1.0/24", "eni-9", "nowhere"),
        route("0.0.0.0/0", "igw-1", "elsewhere"),
      ],
      ["10.5.7.0/24"],
    );
    expect(await listed()).toEqual([
      "10.5.3.0/24 via eni-1",
      "10.5.4.0/24 via eni-1",
      "10.5.6.0/24 via eni-6 (black hole)",
    ]);
  });

  test.each([
    ["a gateway", "igw-1", "elsewhere"],
    ["nowhere", "eni-9", "nowhere"],
  ] as const)("shows the own subnet's route that leads to %s, to be replaced", async (_, target, leadsTo) => {
    const { listed, api, put } = given([route(OWN, target, leadsTo)]);
    expect(await listed()).toHaveLength(1);
    expect(await put(route(OWN))).toEqual([]);
    expect(api.log).toEqual(["replace route 10.5.3.0/24 via eni-1"]);
  });
});

describe("CloudRouteTable.apply()", () => {
  test("leaves a right route alone", async () => {
    const { api, listed, put } = given([route(OWN)]);
    await listed();
    expect(await put(route(OWN))).toEqual([]);
    expect(api.log).toEqual([]);
  });

  test("never takes a route that leads to another instance that is running, and says so without a call", async () => {
    const { api, listed, put } = given([route(OWN, "eni-9", "instance")]);
    expect(await listed()).toEqual([]);
    for (let attempt = 0; attempt < 3; attempt++) {
      const [failure] = await put(route(OWN));
      expect(failure?.error.message).toContain("10.5.3.0/24 leads to eni-9, another instance that is running");
    }
    expect(api.log).toEqual([]);
    api.putByHand(route(OWN, "eni-9", "nowhere"));
    expect(await put(route(OWN))).toEqual([]);
    expect(api.log).toEqual(["replace route 10.5.3.0/24 via eni-1"]);
  });

  test("takes a route back that led to us before", async () => {
    const { api, listed, put } = given([route(OWN)]);
    await listed();
    api.putByHand(route(OWN, "eni-9", "instance"));
    expect(await listed()).toEqual(["10.5.3.0/24 via eni-9"]);
    expect(await put(route(OWN))).toEqual([]);
    expect(api.routes).toEqual([route(OWN)]);
  });

  test("does not remove a black hole that came to life since it was seen", async () => {
    const { api, table, remove } = given([route("10.5.6.0/24", "eni-6", "nowhere")]);
    const seen = await table.list(options);
    api.putByHand(route("10.5.6.0/24", "eni-8", "instance"));
    expect(await remove(...seen)).toEqual([]);
    expect(api.log).toEqual([]);
  });

  test("looks again after a conflict, and puts right what is there then", async () => {
    const { api, listed, put } = given();
    await listed();
    api.putByHand(route(OWN, "igw-1", "elsewhere"));
    expect(await put(route(OWN))).toHaveLength(1);
    expect(await put(route(OWN))).toEqual([]);
    expect(api.routes).toEqual([route(OWN)]);
  });

  test("asks for no listing after a failure that tells nothing of the table", async () => {
    const { api, listed, put } = given();
    await listed();
    api.failures.set("create", new CloudError("quota", "full"));
    await put(route(OWN));
    await put(route(OWN));
    expect(api.listings).toBe(1);
  });

  test("keeps tables apart", async () => {
    const { api, listed, put } = given([route(OWN, "eni-1", "self", "rtb-1")]);
    expect(await listed()).toEqual(["10.5.3.0/24 via eni-1 in rtb-1"]);
    expect(await put(route(OWN, "eni-1", "self", "rtb-2"))).toEqual([]);
    expect(api.log).toEqual(["create route 10.5.3.0/24 via eni-1 in rtb-2"]);
  });

  test("holds the rows of both families, and knows whose business a route is in each", async () => {
    const { api, table, listed } = given(
      [
        route("10.5.4.0/24"),
        route("fd00:5:0:4::/64"),
        route("fd00:5:0:4::/65"),
        route("fd00:5:0:6::/64", "eni-6", "nowhere"),
        route("fd00:6:0:6::/64", "eni-6", "nowhere"),
        route("fd00:5:0:7::/64", "eni-7", "instance"),
      ],
      [],
      [IPV6],
    );
    expect(await listed()).toEqual([
      "10.5.4.0/24 via eni-1",
      "fd00:5:0:4::/64 via eni-1",
      "fd00:5:0:6::/64 via eni-6 (black hole)",
    ]);
    const puts = [route(OWN), route("fd00:5:0:3::/64")];
    expect(await table.apply({ puts, removals: [route("fd00:5:0:4::/64")] }, options)).toEqual([]);
    expect(api.log).toEqual([
      "create route 10.5.3.0/24 via eni-1",
      "create route fd00:5:0:3::/64 via eni-1",
      "remove route fd00:5:0:4::/64 via eni-1",
    ]);
  });
});

test("pace() spreads hosts over a fifth before and after, and waits no longer after failures than between looks", () => {
  expect(pace(600_000, () => 0)).toEqual({ resyncEvery: 480_000, longestRetry: 300_000 });
  expect(pace(600_000, () => 0.999).resyncEvery).toBeLessThan(720_000);
  expect(pace(5_000, () => 0.5)).toEqual({ resyncEvery: 5_000, longestRetry: 5_000 });
});
