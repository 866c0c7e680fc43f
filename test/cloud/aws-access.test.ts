// What EC2 refuses, and credentials: the aws-vpc backend against an EC2 endpoint that checks signatures.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Aws, openAws, SECRETS } from "./aws.ts";
import { type CloudHostOptions, TestedHost } from "./cloud-host.ts";
import { ALL_ACTIONS } from "./ec2-api.ts";
import { ACCOUNT, MAIN_TABLE, REGION, SUBNET_TABLE } from "./fake-vpc.ts";
import { listen } from "./listen.ts";
import { withEnv } from "./with-env.ts";

const SUBNET = "10.5.3.0/24";
const WEB_IDENTITY = "eyJhbGciOiJub25lIn0.web.identity";

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

describe("missing permissions", () => {
  const arn = (resource: string) => `arn:aws:ec2:${REGION}:${ACCOUNT}:${resource}`;
  const policy = (action: string, resource: string) =>
    JSON.stringify({
      Version: "2012-10-17",
      Statement: [{ Effect: "Allow", Action: `ec2:${action}`, Resource: resource }],
    });
  const without = (...actions: readonly string[]) => ALL_ACTIONS.filter((action) => !actions.includes(action));

  test("none, by the policy of docs/aws.md: it is enough, and grants nothing that is not used", async () => {
    const [, text = ""] = /```json\n([^`]+)```/.exec(readFileSync("docs/aws.md", "utf8")) ?? [];
    const { Statement } = JSON.parse(text.replaceAll(/^ {3}/gm, "")) as {
      readonly Statement: readonly { readonly Action: string | readonly string[] }[];
    };
    const granted = Statement.flatMap(({ Action }) => Action).map((action) => action.replace("ec2:", ""));
    aws.api.allowed = granted;
    const dead = aws.vpc.launch("192.0.2.9");
    dead.isRunning = false;
    await aws.vpc.set(SUBNET_TABLE, "10.5.7.0/24", dead.networkInterface);
    await aws.vpc.set(SUBNET_TABLE, SUBNET, "igw-0123");
    const host = await start({ RouteTableID: [MAIN_TABLE, SUBNET_TABLE] });
    await host.settled();
    for (const table of [MAIN_TABLE, SUBNET_TABLE]) expect(aws.vpc.routesOf(table)).toEqual([`${SUBNET} ${eni()}`]);
    expect(aws.api.calls.filter(({ refused }) => refused !== undefined)).toEqual([]);
    expect(new Set(aws.api.calls.map(({ action }) => action))).toEqual(new Set(granted));
  });

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
    await second.dataplane.founded({ signal: AbortSignal.timeout(20_000) });
  });

  test("ModifyNetworkInterfaceAttribute: ModifyInstanceAttribute cannot do it for several interfaces, which is said with the policy", async () => {
    aws.self.isMultihomed = true;
    aws.api.allowed = without("ModifyNetworkInterfaceAttribute");
    const host = await start();
    await host.attempted();
    const [problem] = host.problems;
    expect(problem).toContain("There are multiple interfaces attached to instance");
    expect(problem).toContain(policy("ModifyNetworkInterfaceAttribute", arn(`network-interface/${eni()}`)));
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
        new RegExp(`route table ${SUBNET_TABLE} is full: it holds 2 IPv4 routes; ask for more in Service Quotas`),
      ),
    ]);
    await aws.vpc.unset(SUBNET_TABLE, "10.5.8.0/24");
    await host.settled();
    expect(aws.api.count("CreateRoute")).toBeLessThan(15);
  });

  test("throttling is waited out, without a request more than it takes", async () => {
    aws.api.throttles = 7;
    const host = await start();
    await host.settled(40_000);
    expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual([`${SUBNET} ${eni()}`]);
    expect(host.log).toContain("EC2 asks for patience (RequestLimitExceeded)");
    expect(aws.api.calls.length).toBeLessThan(20);
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
  test.each([
    { AWS_SECURITY_TOKEN: SECRETS.token },
    { AWS_SECURITY_TOKEN: "of-old", AWS_SESSION_TOKEN: SECRETS.token },
  ])("AWS_SECURITY_TOKEN is the session token where AWS_SESSION_TOKEN is not set: %j", async (tokens) => {
    aws.api.identities.splice(0, 1, SECRETS);
    cleanup.use(withEnv({ ...aws.env, ...tokens }));
    const host = await start();
    await host.settled();
    expect(aws.api.count("CreateRoute")).toBe(1);
    expect(aws.api.calls.filter(({ refused }) => refused !== undefined)).toEqual([]);
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

  /** A web identity, and an STS that answers for it. @param answer of the number of the request */
  async function webIdentity(answer: (count: number) => { readonly status: number; readonly body: string }) {
    const directory = mkdtempSync(join(tmpdir(), "aws-"));
    cleanup.defer(() => rmSync(directory, { recursive: true }));
    const file = join(directory, "token");
    writeFileSync(file, WEB_IDENTITY);
    let count = 0;
    const sts = cleanup.use(
      await listen(async (request, response) => {
        let body = "";
        for await (const chunk of request.setEncoding("utf8")) body += chunk;
        const isRight =
          body.includes("Action=AssumeRoleWithWebIdentity") && body.includes(`WebIdentityToken=${WEB_IDENTITY}`);
        const answered = answer(++count);
        response.writeHead(isRight ? answered.status : 400, { "content-type": "text/xml" });
        response.end(answered.body);
      }),
    );
    const { AWS_ACCESS_KEY_ID: _key, AWS_SECRET_ACCESS_KEY: _secret, ...env } = aws.env;
    const identity = {
      AWS_WEB_IDENTITY_TOKEN_FILE: file,
      AWS_ROLE_ARN: `arn:aws:iam::${ACCOUNT}:role/flannel`,
      AWS_ENDPOINT_URL_STS: sts.url,
    };
    cleanup.use(withEnv({ ...env, ...identity, HOME: "/nonexistent" }));
  }

  test("those of a web identity are used, and asked for again when they are not accepted any more", async () => {
    await webIdentity((count) => {
      const key = `ASIAWEB${count}`;
      aws.api.identities.push({ key, secret: "websecret", token: "webtoken" });
      return {
        status: 200,
        body: `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>${key}</AccessKeyId><SecretAccessKey>websecret</SecretAccessKey><SessionToken>webtoken</SessionToken><Expiration>${new Date(Date.now() + 3_600_000).toISOString()}</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
      };
    });
    const host = await start();
    await host.settled();
    expect(aws.api.calls.at(-1)?.key).toBe("ASIAWEB1");
    aws.api.expired.add("ASIAWEB1");
    await host.resync();
    expect(aws.api.calls.at(-1)).toMatchObject({ key: "ASIAWEB2", refused: undefined });
    expect(host.log).not.toMatch(/websecret|webtoken|eyJhbGciOiJub25lIn0/);
  });

  test("a role that STS does not give is said in STS's words, not as a permission of EC2's", async () => {
    await webIdentity(() => ({
      status: 403,
      body: '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error><RequestId>r-1</RequestId></ErrorResponse>',
    }));
    const host = await start();
    await host.attempted();
    expect(host.log).toContain("no credentials: AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity");
    expect(host.log).not.toContain("this policy would allow it");
    expect(host.log).not.toContain(WEB_IDENTITY);
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

  test.each(["AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL"])(
    "%s that makes no URL is named",
    async (name) => {
      cleanup.use(withEnv({ ...aws.env, [name]: "192.0.2.1" }));
      await expect(start()).rejects.toThrow(`${name}: does not make a URL: "192.0.2.1`);
    },
  );

  test("nobody at all is said at once", async () => {
    cleanup.use(withEnv({ ...aws.env, AWS_EC2_METADATA_SERVICE_ENDPOINT: "http://127.0.0.1:1" }));
    await expect(start()).rejects.toThrow("metadata server http://127.0.0.1:1: connect ECONNREFUSED");
  });
});
