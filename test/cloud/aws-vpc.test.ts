// The aws-vpc backend against an EC2 endpoint and an instance metadata service as AWS describes them.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { RouteClaim } from "../../src/cloud/cloud.ts";
import { formerRoutes } from "../../src/cloud/former-claim.ts";
import { openCloud } from "../../src/cloud/open-cloud.ts";
import { parseAddress } from "../../src/ip/address.ts";
import { formatPrefix, parsePrefix } from "../../src/ip/prefix.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { type Aws, openAws } from "./aws.ts";
import { type CloudHostOptions, lease, TestedHost } from "./cloud-host.ts";
import { README_ACTIONS } from "./ec2-api.ts";
import { MAIN_TABLE, SUBNET_TABLE } from "./fake-vpc.ts";
import { describeIPv6Routes, REQUEST } from "./ipv6-routes.ts";
import { withEnv } from "./with-env.ts";

const SUBNET = "10.5.3.0/24";

let aws: Aws;
let cleanup: AsyncDisposableStack;
beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  aws = cleanup.use(await openAws());
  cleanup.use(withEnv(aws.env));
});
afterEach(() => cleanup.disposeAsync());

async function start(
  backend: { readonly [key: string]: unknown } = {},
  more: Partial<CloudHostOptions> = {},
): Promise<TestedHost> {
  return cleanup.use(
    await TestedHost.start({ backend: { Type: "aws-vpc", ...backend }, address: "192.0.2.1", subnet: SUBNET, ...more }),
  );
}

const eni = () => aws.self.networkInterface;

describe("aws-vpc", () => {
  test("routes the host's subnet to its interface in the table of its subnet, and turns the source/destination check off", async () => {
    const host = await start();
    await host.settled();
    expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual([`${SUBNET} ${eni()}`]);
    expect(aws.vpc.routesOf(MAIN_TABLE)).toEqual([]);
    expect(aws.self.sourceDestCheck).toBe(false);
    expect(host.backend.lease.attributes).toEqual({ publicIP: host.backend.lease.attributes.publicIP });
    expect(host.backend.mtu).toBe(9001);
  });

  test("a restart makes no changing call at all", async () => {
    const first = await start();
    await first.settled();
    await first.stop();
    aws.api.calls.length = 0;
    const second = await start({}, { notes: first.notes });
    await second.settled();
    await second.resync();
    expect(aws.api.changing).toEqual([]);
    expect(aws.api.count("DescribeRouteTables")).toBeGreaterThan(0);
  });

  test("with the README's permissions alone, DescribeInstances left out too, everything works", async () => {
    aws.api.allowed = README_ACTIONS.filter((action) => action !== "DescribeInstances");
    await aws.vpc.set(SUBNET_TABLE, SUBNET, "igw-1");
    const host = await start();
    await host.settled();
    expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual([`${SUBNET} ${eni()}`]);
    expect(aws.self.sourceDestCheck).toBe(false);
    expect(host.problems).toEqual([]);
    await host.stop();
    aws.api.calls.length = 0;
    const second = await start({}, { notes: host.notes });
    await second.settled();
    expect(aws.api.changing).toEqual([]);
  });

  test("RouteTableID may name one table or several, over pages, and each gets the route", async () => {
    aws.api.pageSize = 1;
    const host = await start({ RouteTableID: [MAIN_TABLE, SUBNET_TABLE] });
    await host.settled();
    for (const table of [MAIN_TABLE, SUBNET_TABLE]) expect(aws.vpc.routesOf(table)).toEqual([`${SUBNET} ${eni()}`]);
    expect(aws.api.count("DescribeRouteTables")).toBe(2);
  });

  test("a table that is not there is named, and holds up no other", async () => {
    const host = await start({ RouteTableID: ["rtb-0ccccccccccccccc9", MAIN_TABLE] });
    await host.attempted();
    expect(aws.vpc.routesOf(MAIN_TABLE)).toEqual([`${SUBNET} ${eni()}`]);
    expect(host.problems).toEqual([
      expect.stringContaining("The routeTable ID 'rtb-0ccccccccccccccc9' does not exist"),
    ]);
  });

  test("a subnet without a table of its own uses the VPC's main one", async () => {
    aws.vpc.tables = aws.vpc.tables.filter(({ isMain }) => isMain);
    const host = await start();
    await host.settled();
    expect(aws.vpc.routesOf(MAIN_TABLE)).toEqual([`${SUBNET} ${eni()}`]);
  });

  test("a right route is left alone, a wrong one replaced in place", async () => {
    await aws.vpc.set(SUBNET_TABLE, SUBNET, "igw-0123");
    const host = await start();
    await host.settled();
    expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual([`${SUBNET} ${eni()}`]);
    expect(aws.api.changing.filter((action) => action.endsWith("Route"))).toEqual(["ReplaceRoute"]);
  });

  test("another instance's live route is never taken; once that instance is dead, it is", async () => {
    const other = aws.vpc.launch("192.0.2.2");
    await aws.vpc.set(SUBNET_TABLE, SUBNET, other.networkInterface);
    const host = await start({ CheckInterval: 5 });
    await host.attempted();
    await host.resync();
    expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual([`${SUBNET} ${other.networkInterface}`]);
    expect(host.problems).toEqual([
      expect.stringContaining(`leads to ${other.networkInterface}, another instance that is running`),
    ]);
    await aws.vpc.setRunning(other, false);
    await host.settled();
    expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual([`${SUBNET} ${eni()}`]);
  });

  test("black holes of the Network go, but for those of subnets that somebody holds", async () => {
    const dead = aws.vpc.launch("192.0.2.9");
    dead.isRunning = false;
    for (const subnet of ["10.5.7.0/24", "10.5.8.0/24", "10.9.0.0/24"])
      await aws.vpc.set(SUBNET_TABLE, subnet, dead.networkInterface);
    const host = await start();
    host.setPeers([lease("10.5.8.0/24", "192.0.2.9")]);
    await host.settled();
    expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual([
      `${SUBNET} ${eni()}`,
      `10.5.8.0/24 ${dead.networkInterface}`,
      `10.9.0.0/24 ${dead.networkInterface}`,
    ]);
    host.setPeers([]);
    await host.attempted();
    await host.resync();
    expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual([`${SUBNET} ${eni()}`, `10.9.0.0/24 ${dead.networkInterface}`]);
  });

  test("drift is repaired at a resync: a route that is gone or was changed by hand, a check that was turned on", async () => {
    const other = aws.vpc.launch("192.0.2.2");
    const host = await start();
    await host.settled();
    for (const drift of [
      () => aws.vpc.unset(SUBNET_TABLE, SUBNET),
      () => aws.vpc.set(SUBNET_TABLE, SUBNET, other.networkInterface),
      () => aws.vpc.setCheck(aws.self, true),
    ]) {
      await drift();
      await host.resync();
      expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual([`${SUBNET} ${eni()}`]);
      expect(aws.self.sourceDestCheck).toBe(false);
    }
  });

  test("propagated routes and the VPC's own are nobody's business", async () => {
    await aws.vpc.set(SUBNET_TABLE, "10.5.9.0/24", "vgw-1", "EnableVgwRoutePropagation");
    const host = await start();
    await host.settled();
    expect(aws.api.count("DeleteRoute")).toBe(0);
  });

  test("an interface is found by its IPv6 address, and its tables write, find and remove IPv6 routes as any other", async () => {
    aws.self.ipv6 = "2001:db8:1::a";
    const request = { ...REQUEST, address: parseAddress("2001:db8:1:0::a"), routeTables: [] };
    const options = { signal: AbortSignal.timeout(20_000) };
    const cloud = await openCloud({ clock: systemClock, env: process.env }).openVpc(request, options);
    expect(cloud.ranges.map(formatPrefix)).toContain("2001:db8:1::/56");
    await describeIPv6Routes(cloud, () => aws.vpc.routesOf(SUBNET_TABLE), `fd00:5:0:3::/64 ${eni()}`);
    const commands = aws.api.calls.filter(({ action }) => action.endsWith("Route"));
    expect(commands.map(({ parameters }) => parameters.get("DestinationIpv6CidrBlock"))).toEqual([
      "fd00:5:0:3::/64",
      "fd00:5:0:3::/64",
    ]);
  });

  test("of a claim that was given up only what leads here goes, and not what is claimed now by the table's other name", async () => {
    const other = aws.vpc.launch("192.0.2.2");
    for (const table of [MAIN_TABLE, SUBNET_TABLE]) await aws.vpc.set(table, SUBNET, aws.self.networkInterface);
    await aws.vpc.set(SUBNET_TABLE, "10.5.4.0/24", other.networkInterface);
    const options = { signal: AbortSignal.timeout(20_000) };
    const cloud = openCloud({ clock: systemClock, env: process.env });
    const claim = (routeTables: readonly string[], ...subnets: readonly string[]): RouteClaim => ({
      cloud: "vpc",
      address: parseAddress("192.0.2.1"),
      routeTables,
      subnets: subnets.map(parsePrefix),
    });
    const former = claim([MAIN_TABLE, SUBNET_TABLE], SUBNET, "10.5.4.0/24");
    const table = await formerRoutes(cloud, former, claim([], SUBNET), options);
    const removals = await table.list(options);
    expect(removals.map((route) => table.format(route))).toEqual([`${SUBNET} via ${eni()} in ${MAIN_TABLE}`]);
    expect(await table.apply({ puts: [], removals }, options)).toEqual([]);
    expect(aws.vpc.routesOf(MAIN_TABLE)).toEqual([]);
    expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual([`${SUBNET} ${eni()}`, `10.5.4.0/24 ${other.networkInterface}`]);
  });

  test("a Network that overlaps the VPC is refused by name", async () => {
    await expect(
      TestedHost.start({ backend: { Type: "aws-vpc" }, address: "192.0.2.1", subnet: SUBNET, network: "192.0.0.0/16" }),
    ).rejects.toThrow("Network: 192.0.0.0/16 overlaps the cloud's own 192.0.2.0/24");
  });

  test("everything can be cancelled: a host that waits for EC2 stops at once", async () => {
    aws.api.before = () => new Promise(() => {});
    const host = await start();
    await new Promise((resolve) => setTimeout(resolve, 100));
    const before = performance.now();
    await host.stop();
    expect(performance.now() - before).toBeLessThan(1_000);
    aws.api.before = async () => {};
  });
});
