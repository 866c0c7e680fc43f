// The aws-vpc backend against an EC2 endpoint and an instance metadata service as AWS describes them.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { RouteClaim } from "../../src/cloud/cloud.ts";
import { formerRoutes } from "../../src/cloud/former-claim.ts";
import { openCloud } from "../../src/cloud/open-cloud.ts";
import { parseAddress } from "../../src/ip/address.ts";
import { formatPrefix, parsePrefix } from "../../src/ip/prefix.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { ceiling } from "../e2e/hosts.ts";
import { within } from "../support/within.ts";
import { type Aws, type AwsOptions, openAws } from "./aws.ts";
import { type CloudHostOptions, lease, TestedHost } from "./cloud-host.ts";
import { README_ACTIONS } from "./ec2-api.ts";
import { MAIN_TABLE, SUBNET_TABLE } from "./fake-vpc.ts";
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
    expect(host.overlay.lease.attributes).toEqual({ publicIP: host.overlay.lease.attributes.publicIP });
    expect(host.overlay.mtu).toBe(9001);
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

  test("a wrong route that goes before it is replaced is created instead, without a word", async () => {
    await aws.vpc.set(SUBNET_TABLE, SUBNET, "igw-0123");
    aws.api.before = async (action) => {
      if (action === "ReplaceRoute") await aws.vpc.unset(SUBNET_TABLE, SUBNET);
    };
    const host = await start();
    await host.settled();
    expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual([`${SUBNET} ${eni()}`]);
    expect(aws.api.changing.filter((action) => action.endsWith("Route"))).toEqual(["ReplaceRoute", "CreateRoute"]);
    expect(host.logger.messages("warn")).toEqual([]);
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

  test("a Network where EC2's own services are is refused by name", async () => {
    await expect(start({}, { network: "169.254.169.0/24" })).rejects.toThrow(
      "overlaps the cloud's own 169.254.168.0/22",
    );
  });

  test("everything can be cancelled: a host that waits for EC2 stops at once", async () => {
    aws.api.before = () => new Promise(() => {});
    const host = await start();
    await new Promise((resolve) => setTimeout(resolve, 100));
    await within(ceiling(1_000), "the host stops", host.stop());
    aws.api.before = async () => {};
  });
});

describe("aws-vpc with IPv6", () => {
  const IPV6 = { address: "2001:db8:1::a", subnet: "fd00:5:0:3::/64" };
  const RIGHT = () => [`${SUBNET} ${eni()}`, `${IPV6.subnet} ${eni()}`];

  async function inVpc(options: AwsOptions): Promise<void> {
    aws = cleanup.use(await openAws(options));
    cleanup.use(withEnv(aws.env));
  }

  test("both families share one look at the instance and at the VPC, and a restart makes no changing call", async () => {
    await inVpc({ ipv6Range: "2001:db8:1::/56", ipv6: IPV6.address });
    const first = await start({}, { ipv6: IPV6 });
    await first.settled();
    expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual(RIGHT());
    expect(aws.metadata.requests.filter((request) => request.endsWith("/instance-id"))).toHaveLength(1);
    expect(aws.api.calls.map(({ action }) => action)).toEqual([
      "DescribeInstances",
      "ModifyNetworkInterfaceAttribute",
      "DescribeRouteTables",
      "CreateRoute",
      "CreateRoute",
    ]);
    expect(aws.api.calls.map(({ parameters }) => parameters.get("DestinationIpv6CidrBlock")).filter(Boolean)).toEqual([
      IPV6.subnet,
    ]);
    expect(first.overlay.claim?.subnets.map(formatPrefix)).toEqual([SUBNET, IPV6.subnet]);
    await first.stop();
    aws.api.calls.length = 0;
    const second = await start({}, { ipv6: IPV6, notes: first.notes });
    await second.settled();
    await second.resync();
    expect(aws.api.changing).toEqual([]);
    expect(aws.api.count("DescribeRouteTables")).toBe(2);
  });

  test("drift of one family is repaired; black holes go, but for those of subnets that somebody holds", async () => {
    await inVpc({ ipv6Range: "2001:db8:1::/56", ipv6: IPV6.address });
    const other = aws.vpc.launch("192.0.2.2");
    const dead = aws.vpc.launch("192.0.2.9");
    dead.isRunning = false;
    for (const subnet of ["fd00:5:0:7::/64", "fd00:5:0:8::/64", "fd00:6:0:7::/64"])
      await aws.vpc.set(SUBNET_TABLE, subnet, dead.networkInterface);
    const host = await start({}, { ipv6: IPV6 });
    host.setPeers([lease("10.5.8.0/24", "192.0.2.9", { address: "2001:db8:1::9", subnet: "fd00:5:0:8::/64" })]);
    await host.settled();
    const right = [...RIGHT(), `fd00:5:0:8::/64 ${dead.networkInterface}`, `fd00:6:0:7::/64 ${dead.networkInterface}`];
    expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual(right);
    for (const drift of [
      () => aws.vpc.unset(SUBNET_TABLE, IPV6.subnet),
      () => aws.vpc.set(SUBNET_TABLE, IPV6.subnet, other.networkInterface),
    ]) {
      await drift();
      await host.resync();
      expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual(right);
    }
  });

  test("a table that is full of one family's routes takes the other's", async () => {
    await inVpc({ ipv6Range: "2001:db8:1::/56", ipv6: IPV6.address });
    const other = aws.vpc.launch("192.0.2.2");
    aws.vpc.table(SUBNET_TABLE).quota = 1;
    await aws.vpc.set(SUBNET_TABLE, "fd00:5:0:7::/64", other.networkInterface);
    const host = await start({}, { ipv6: IPV6 });
    await host.attempted();
    expect(aws.vpc.routesOf(SUBNET_TABLE)).toContain(`${SUBNET} ${eni()}`);
    expect(host.problems).toEqual([expect.stringContaining(`${SUBNET_TABLE} is full: it holds 1 IPv6 routes;`)]);
  });

  test("a network of IPv6 alone has that route alone", async () => {
    await inVpc({ ipv6Range: "2001:db8:1::/56", ipv6: IPV6.address });
    const host = await start({}, { ...IPV6 });
    await host.settled();
    expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual([`${IPV6.subnet} ${eni()}`]);
    expect(aws.self.sourceDestCheck).toBe(false);
  });

  test.each([
    [{}, IPV6, /vpc-0aaaaaaaaaaaaaaa1 has no IPv6 range, .*associate-vpc-cidr-block --vpc-id vpc-0aaaaaaaaaaaaaaa1/],
    [
      { ipv6Range: "2001:db8:1::/56" },
      IPV6,
      /eni-\w+ has no IPv6 address .*assign-ipv6-addresses --network-interface-id eni-/,
    ],
    [
      { ipv6Range: "2001:db8:1::/56", ipv6: "2001:db8:1::b" },
      IPV6,
      /eni-\w+ does not have the address 2001:db8:1::a in .*; it has 192.0.2.1, 2001:db8:1::b/,
    ],
    [
      { ipv6Range: "2001:db8:1::/56", ipv6: IPV6.address },
      { ...IPV6, network: "2001:db8::/32" },
      /IPv6Network: 2001:db8::\/32 overlaps the cloud's own 2001:db8:1::\/56/,
    ],
    [
      { ipv6Range: "2001:db8:1::/56", ipv6: IPV6.address },
      { ...IPV6, network: "fd00:ec2:5::/48" },
      /IPv6Network: fd00:ec2:5::\/48 overlaps the cloud's own fd00:ec2::\/32/,
    ],
  ])("what is missing in a VPC of %j is named", async (vpc, ipv6, message) => {
    await inVpc(vpc);
    await expect(start({}, { ipv6 })).rejects.toThrow(message);
    expect(aws.api.calls).toEqual([]);
  });

  test("an instance without IPv6 is named in a network of IPv6 alone", async () => {
    await expect(start({}, { ...IPV6 })).rejects.toThrow(
      /they have 192.0.2.1 \(IPv6 must be in the VPC, in the subnet/,
    );
  });
});
