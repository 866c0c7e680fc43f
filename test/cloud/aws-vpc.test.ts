// The aws-vpc backend against an EC2 endpoint and an instance metadata service as AWS describes them.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { CloudRoute } from "../../src/cloud/cloud.ts";
import { memoryNotes } from "../../src/cloud/fake-cloud.ts";
import { openCloud } from "../../src/cloud/open-cloud.ts";
import { parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { silentLogger } from "../../src/lib/logger.ts";
import { type Aws, openAws, SECRETS } from "./aws.ts";
import { type CloudHostOptions, lease, TestedHost } from "./cloud-host.ts";
import { ALL_ACTIONS, README_ACTIONS } from "./ec2-api.ts";
import { ACCOUNT, MAIN_TABLE, REGION, SUBNET_TABLE } from "./fake-vpc.ts";
import { listen } from "./listen.ts";
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

  test("the tables write, find and remove IPv6 routes as any other", async () => {
    const request = {
      address: parseAddress("192.0.2.1"),
      routeTables: [],
      checkEvery: 600_000,
      notes: memoryNotes(),
      logger: silentLogger,
    };
    const options = { signal: AbortSignal.timeout(20_000) };
    const cloud = await openCloud({ clock: systemClock, env: process.env }).openVpc(request, options);
    const subnet = parsePrefix("fd00:5:0:3::/64");
    const { routes } = cloud.tables({ network: parsePrefix("fd00:5::/48"), subnet, isSubnet: () => true });
    const own: CloudRoute = { table: undefined, destination: subnet, target: cloud.target, leadsTo: "self" };
    expect(await routes.list(options)).toEqual([]);
    expect(await routes.apply({ puts: [own], removals: [] }, options)).toEqual([]);
    expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual([`fd00:5:0:3::/64 ${eni()}`]);
    expect(await routes.list(options)).toEqual([own]);
    expect(await routes.apply({ puts: [], removals: [own] }, options)).toEqual([]);
    expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual([]);
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

describe("missing permissions", () => {
  const arn = (resource: string) => `arn:aws:ec2:${REGION}:${ACCOUNT}:${resource}`;
  const policy = (action: string, resource: string) =>
    JSON.stringify({
      Version: "2012-10-17",
      Statement: [{ Effect: "Allow", Action: `ec2:${action}`, Resource: resource }],
    });
  const without = (...actions: readonly string[]) => ALL_ACTIONS.filter((action) => !actions.includes(action));

  test("DescribeRouteTables: is named with the policy that would grant it", async () => {
    aws.api.allowed = without("DescribeRouteTables");
    const host = await start();
    await host.attempted();
    expect(host.log).toContain(policy("DescribeRouteTables", "*"));
    expect(host.log).toContain("arn:aws:sts::123456789012:assumed-role/flannel/i-1");
    aws.api.allowed = ALL_ACTIONS;
    await host.settled();
  });

  test("CreateRoute: likewise, for the one table, and the rest is done", async () => {
    aws.api.allowed = without("CreateRoute");
    const host = await start();
    await host.attempted();
    expect(host.problems).toEqual([expect.stringContaining(policy("CreateRoute", arn(`route-table/${SUBNET_TABLE}`)))]);
    expect(aws.self.sourceDestCheck).toBe(false);
  });

  test("DeleteRoute: likewise, and the own route is there", async () => {
    const dead = aws.vpc.launch("192.0.2.9");
    dead.isRunning = false;
    await aws.vpc.set(SUBNET_TABLE, "10.5.7.0/24", dead.networkInterface);
    aws.api.allowed = without("DeleteRoute");
    const host = await start();
    await host.attempted();
    expect(host.problems).toEqual([expect.stringContaining(policy("DeleteRoute", arn(`route-table/${SUBNET_TABLE}`)))]);
    expect(aws.vpc.routesOf(SUBNET_TABLE)).toContain(`${SUBNET} ${eni()}`);
  });

  test("ReplaceRoute: the wrong route is deleted and created instead", async () => {
    aws.api.allowed = without("ReplaceRoute");
    await aws.vpc.set(SUBNET_TABLE, SUBNET, "igw-0123");
    const host = await start();
    await host.settled();
    expect(aws.api.changing.filter((action) => action.endsWith("Route"))).toEqual([
      "ReplaceRoute",
      "DeleteRoute",
      "CreateRoute",
    ]);
    expect(host.logger.messages("warn")).toEqual([]);
  });

  test("ModifyNetworkInterfaceAttribute: ModifyInstanceAttribute does it; without either the policy is named and the route is there", async () => {
    aws.api.allowed = without("ModifyNetworkInterfaceAttribute");
    const host = await start();
    await host.settled();
    expect(aws.self.sourceDestCheck).toBe(false);
    await host.stop();
    await aws.vpc.setCheck(aws.self, true);
    aws.api.allowed = without("ModifyNetworkInterfaceAttribute", "ModifyInstanceAttribute");
    const second = await start();
    await second.attempted();
    expect(second.problems).toEqual([
      expect.stringContaining(policy("ModifyNetworkInterfaceAttribute", arn(`network-interface/${eni()}`))),
    ]);
    await second.dataplane.founded({ signal: AbortSignal.timeout(5_000) });
  });

  test("DescribeInstances: what was turned off once counts as off, for this interface", async () => {
    aws.api.allowed = without("DescribeInstances");
    const host = await start();
    await host.settled();
    await host.resync();
    expect(aws.api.count("ModifyNetworkInterfaceAttribute")).toBe(1);
  });
});

describe("EC2's refusals", () => {
  test("a full table says how many routes it holds and what to do, and is not asked without end", async () => {
    aws.vpc.table(SUBNET_TABLE).quota = 2;
    const other = aws.vpc.launch("192.0.2.2");
    for (const subnet of ["10.5.7.0/24", "10.5.8.0/24"])
      await aws.vpc.set(SUBNET_TABLE, subnet, other.networkInterface);
    const host = await start({ CheckInterval: 5 });
    await host.attempted();
    expect(host.problems).toEqual([
      expect.stringMatching(
        new RegExp(`route table ${SUBNET_TABLE} is full: it holds 2 routes; ask for more in Service Quotas`),
      ),
    ]);
    await aws.vpc.unset(SUBNET_TABLE, "10.5.8.0/24");
    await host.settled();
    expect(aws.api.count("CreateRoute")).toBeLessThan(15);
  });

  test("throttling is waited out, longer and longer and never in step", async () => {
    aws.api.throttles = 7;
    const host = await start();
    await host.settled(40_000);
    expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual([`${SUBNET} ${eni()}`]);
    expect(host.log).toContain("EC2 asks for patience (RequestLimitExceeded)");
  });

  test.each([
    ["an unknown key", () => aws.api.identities.splice(0)],
    ["a wrong secret", () => aws.api.identities.splice(0, 1, { key: SECRETS.key, secret: "another" })],
    ["expired credentials", () => aws.api.expired.add(SECRETS.key)],
  ])("%s is said, and nothing secret with it", async (_, spoil) => {
    cleanup.use(withEnv({ ...aws.env, AWS_SESSION_TOKEN: SECRETS.token }));
    spoil();
    const host = await start();
    await host.attempted();
    expect(host.log).toContain("the credentials are not accepted");
    for (const secret of [SECRETS.secret, SECRETS.token, SECRETS.key]) expect(host.log).not.toContain(secret);
  });

  test("an endpoint that nobody serves is said once, and is tried again", async () => {
    cleanup.use(withEnv({ ...aws.env, AWS_ENDPOINT_URL_EC2: "http://127.0.0.1:1" }));
    const host = await start();
    await host.attempted();
    expect(host.log).toContain("EC2 cannot be reached: ECONNREFUSED");
  });
});

describe("credentials", () => {
  test("AWS_SECURITY_TOKEN is the session token where AWS_SESSION_TOKEN is not set", async () => {
    aws.api.identities.splice(0, 1, SECRETS);
    cleanup.use(withEnv({ ...aws.env, AWS_SECURITY_TOKEN: SECRETS.token }));
    const host = await start();
    await host.settled();
    expect(aws.api.count("CreateRoute")).toBe(1);
  });

  test("without variables, those of the instance's role are used", async () => {
    const { AWS_ACCESS_KEY_ID: _key, AWS_SECRET_ACCESS_KEY: _secret, ...env } = aws.env;
    cleanup.use(withEnv({ ...env, HOME: "/nonexistent" }));
    aws.api.identities.splice(0, 1, SECRETS);
    aws.metadata.role = { ...SECRETS, expires: new Date(Date.now() + 3_600_000) };
    const host = await start();
    await host.settled();
    expect(aws.api.count("CreateRoute")).toBe(1);
  });

  test("those of a web identity are used, and asked for again when they are not accepted any more", async () => {
    const directory = mkdtempSync(join(tmpdir(), "aws-"));
    cleanup.defer(() => rmSync(directory, { recursive: true }));
    const file = join(directory, "token");
    writeFileSync(file, "eyJhbGciOiJub25lIn0.web.identity");
    let issued = 0;
    const sts = cleanup.use(
      await listen(async (request, response) => {
        let body = "";
        for await (const chunk of request.setEncoding("utf8")) body += chunk;
        const isRight =
          body.includes("Action=AssumeRoleWithWebIdentity") &&
          body.includes("WebIdentityToken=eyJhbGciOiJub25lIn0.web.identity");
        const key = `ASIAWEB${++issued}`;
        aws.api.identities.push({ key, secret: "websecret", token: "webtoken" });
        response.writeHead(isRight ? 200 : 400, { "content-type": "text/xml" });
        response.end(
          `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>${key}</AccessKeyId><SecretAccessKey>websecret</SecretAccessKey><SessionToken>webtoken</SessionToken><Expiration>${new Date(Date.now() + 3_600_000).toISOString()}</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
        );
      }),
    );
    const { AWS_ACCESS_KEY_ID: _key, AWS_SECRET_ACCESS_KEY: _secret, ...env } = aws.env;
    const identity = {
      AWS_WEB_IDENTITY_TOKEN_FILE: file,
      AWS_ROLE_ARN: `arn:aws:iam::${ACCOUNT}:role/flannel`,
      AWS_ENDPOINT_URL_STS: sts.url,
    };
    cleanup.use(withEnv({ ...env, ...identity, HOME: "/nonexistent" }));
    const host = await start();
    await host.settled();
    expect(aws.api.calls.at(-1)?.key).toBe("ASIAWEB1");
    aws.api.expired.add("ASIAWEB1");
    await host.resync();
    expect(aws.api.calls.at(-1)).toMatchObject({ key: "ASIAWEB2", refused: undefined });
    expect(host.log).not.toMatch(/websecret|webtoken|eyJhbGciOiJub25lIn0/);
  });

  test("none at all is said with where they are looked for", async () => {
    const { AWS_ACCESS_KEY_ID: _key, AWS_SECRET_ACCESS_KEY: _secret, ...env } = aws.env;
    cleanup.use(withEnv({ ...env, HOME: "/nonexistent" }));
    const host = await start();
    await host.attempted();
    expect(host.log).toContain("no credentials");
    expect(host.log).toContain("the instance's role");
  });

  test("a role's credentials that expire in the middle are fetched anew", async () => {
    const { AWS_ACCESS_KEY_ID: _key, AWS_SECRET_ACCESS_KEY: _secret, ...env } = aws.env;
    cleanup.use(withEnv({ ...env, HOME: "/nonexistent" }));
    const later = { key: "AKIALATER", secret: "latersecret", token: "latertoken" };
    aws.api.identities.splice(0, 1, SECRETS, later);
    const expires = new Date(Date.now() + 3_600_000);
    aws.metadata.role = { ...SECRETS, expires };
    const host = await start();
    await host.settled();
    aws.api.expired.add(SECRETS.key);
    aws.metadata.role = { ...later, expires };
    await aws.vpc.unset(SUBNET_TABLE, SUBNET);
    await host.resync();
    expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual([`${SUBNET} ${eni()}`]);
    expect(aws.api.calls.at(-1)?.key).toBe(later.key);
    expect(host.logger.messages("warn")).toEqual([]);
  });

  test("a shared file that was rewritten is read again when its credentials are not accepted any more", async () => {
    const directory = mkdtempSync(join(tmpdir(), "aws-"));
    cleanup.defer(() => rmSync(directory, { recursive: true }));
    const file = join(directory, "credentials");
    const write = (key: string, secret: string) =>
      writeFileSync(file, `[default]\naws_access_key_id = ${key}\naws_secret_access_key = ${secret}\n`);
    write(SECRETS.key, SECRETS.secret);
    const { AWS_ACCESS_KEY_ID: _key, AWS_SECRET_ACCESS_KEY: _secret, ...env } = aws.env;
    cleanup.use(withEnv({ ...env, AWS_SHARED_CREDENTIALS_FILE: file }));
    const host = await start();
    await host.settled();
    aws.api.identities.splice(0, 1, { key: "AKIAROTATED", secret: "rotated" });
    write("AKIAROTATED", "rotated");
    await host.resync();
    expect(aws.api.calls.at(-1)).toMatchObject({ key: "AKIAROTATED", refused: undefined });
  });
});

describe("instance metadata", () => {
  test.each([
    ["both versions", [1, 2]],
    ["version 2 only", [2]],
    ["version 1 only", [1]],
  ] as const)("%s will do", async (_, versions) => {
    aws.metadata.versions = versions;
    const host = await start();
    await host.settled();
    const isSecond = versions.some((version) => version === 2);
    expect(aws.metadata.requests.includes("PUT /latest/api/token")).toBe(true);
    expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual([`${SUBNET} ${eni()}`]);
    expect(isSecond || aws.metadata.versions.length === 1).toBe(true);
  });

  test("an older one without a region has the zone", async () => {
    aws.metadata.missing.add("placement/region").add("services/partition");
    const host = await start();
    await host.settled();
    expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual([`${SUBNET} ${eni()}`]);
  });

  test("one that is turned off says how to turn it on", async () => {
    aws.metadata.isOn = false;
    await expect(start()).rejects.toThrow("modify-instance-metadata-options --http-endpoint enabled");
  });

  test("an address that no interface has is named with those that are there", async () => {
    await expect(start({}, { address: "192.0.2.77" })).rejects.toThrow(
      "no network interface of this instance has the address 192.0.2.77; they have 192.0.2.1",
    );
  });

  test("nobody at all is said at once", async () => {
    cleanup.use(withEnv({ ...aws.env, AWS_EC2_METADATA_SERVICE_ENDPOINT: "http://127.0.0.1:1" }));
    await expect(start()).rejects.toThrow("metadata server http://127.0.0.1:1: connect ECONNREFUSED");
  });
});
