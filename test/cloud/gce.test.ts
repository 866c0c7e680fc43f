// The gce backend against a compute API and a metadata server as Google describes them.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { formatPrefix } from "../../src/ip/prefix.ts";
import { ceiling } from "../e2e/hosts.ts";
import { within } from "../support/within.ts";
import { type CloudHostOptions, lease, TestedHost } from "./cloud-host.ts";
import { ComputeApi, instanceUrl, networkUrl } from "./compute-api.ts";
import { type Gce, type GceOptions, openGce } from "./gce.ts";
import { listenAsProxy } from "./listen.ts";
import { withEnv } from "./with-env.ts";

const SUBNET = "10.5.3.0/24";
const NAME = "flannel-10-5-3-0-24";
const OWN = `${NAME} ${SUBNET} node-1`;

let gce: Gce;
let cleanup: AsyncDisposableStack;
beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  gce = cleanup.use(await openGce());
  cleanup.use(withEnv(gce.env));
});
afterEach(() => cleanup.disposeAsync());

async function start(more: Partial<CloudHostOptions> = {}): Promise<TestedHost> {
  const backend = { Type: "gce", CheckInterval: 5 };
  return cleanup.use(await TestedHost.start({ backend, address: "192.0.2.1", subnet: SUBNET, ...more }));
}

describe("gce", () => {
  test("makes one route, named and made as 0.7.0 does, and waits for its operation", async () => {
    gce.api.looks = 2;
    const host = await start();
    await host.settled();
    expect(gce.api.routes).toEqual([
      {
        name: NAME,
        destRange: SUBNET,
        network: networkUrl("pods"),
        nextHopInstance: instanceUrl("node-1"),
        priority: 1000,
        tags: [],
      },
    ]);
    expect(host.problems).toEqual([]);
    expect(gce.api.calls.filter(({ path }) => path.startsWith("global/operations/")).length).toBe(3);
  });

  test("a restart makes no changing call at all", async () => {
    const first = await start();
    await first.settled();
    await first.stop();
    gce.api.calls.length = 0;
    const second = await start();
    await second.settled();
    await second.resync();
    expect(gce.api.changing).toEqual([]);
  });

  test("a wrong route of its own is made anew: another priority, a tag, a gateway", async () => {
    for (const wrong of [
      { priority: 5, nextHopInstance: instanceUrl("node-1") },
      { tags: ["x"], nextHopInstance: instanceUrl("node-1") },
      { nextHopGateway: "x" },
    ]) {
      await gce.api.put({ name: NAME, destRange: SUBNET, ...wrong });
      const host = await start();
      await host.settled();
      expect(gce.api.routes).toMatchObject([{ priority: 1000, tags: [], nextHopInstance: instanceUrl("node-1") }]);
      await host.stop();
    }
  });

  test("drift is repaired at a resync: a route that is gone, one changed by hand", async () => {
    gce.api.launch("192.0.2.2");
    const host = await start();
    await host.settled();
    await gce.api.remove(NAME);
    await host.resync();
    expect(gce.api.lines).toEqual([OWN]);
    await gce.api.put({ name: NAME, destRange: SUBNET, nextHopInstance: instanceUrl("node-2") });
    await host.resync();
    expect(gce.api.lines).toEqual([OWN]);
  });

  test("another instance's live route is never taken; once that instance is stopped or gone, it is", async () => {
    const other = gce.api.launch("192.0.2.2");
    await gce.api.put({ name: NAME, destRange: SUBNET, nextHopInstance: instanceUrl(other.name) });
    const host = await start();
    await host.attempted();
    expect(gce.api.changing).toEqual([]);
    expect(host.problems).toEqual([expect.stringContaining("instances/node-2, another instance that is running")]);
    await gce.api.set(other, { state: "deleted" });
    await host.settled();
    expect(gce.api.lines).toEqual([OWN]);
  });

  test("routes of dead instances go, over pages, but for those of subnets that somebody holds and those of other networks", async () => {
    gce.api.pageSize = 1;
    for (const number of [7, 8])
      await gce.api.put({
        name: `flannel-10-5-${number}-0-24`,
        destRange: `10.5.${number}.0/24`,
        nextHopInstance: instanceUrl("gone"),
      });
    await gce.api.put({ name: "flannel-10-9-1-0-24", destRange: "10.9.1.0/24", nextHopInstance: instanceUrl("gone") });
    await gce.api.put({
      name: "flannel-10-5-9-0-24",
      destRange: "10.5.9.0/24",
      network: networkUrl("other"),
      nextHopInstance: instanceUrl("gone"),
    });
    await gce.api.put({ name: "by-hand", destRange: "10.5.10.0/24", nextHopInstance: instanceUrl("gone") });
    const host = await start();
    host.setPeers([lease("10.5.8.0/24", "192.0.2.9")]);
    await host.settled();
    expect(gce.api.routes.map(({ name }) => name).toSorted()).toEqual([
      "by-hand",
      NAME,
      "flannel-10-5-8-0-24",
      "flannel-10-5-9-0-24",
      "flannel-10-9-1-0-24",
    ]);
  });

  test("a route of that name in another network is named as what it may be", async () => {
    await gce.api.put({
      name: NAME,
      destRange: SUBNET,
      network: networkUrl("other"),
      nextHopInstance: instanceUrl("node-1"),
    });
    const host = await start();
    await host.attempted();
    expect(host.problems).toEqual([
      expect.stringContaining(`there is a route ${NAME} already, which may be another network's`),
    ]);
  });

  test("an instance that may not forward is named, with what to do, and the route is there", async () => {
    gce.self.canIpForward = false;
    const host = await start();
    await host.attempted();
    expect(host.problems).toEqual([expect.stringContaining("IP forwarding is off on instance node-1")]);
    expect(gce.api.lines).toEqual([OWN]);
    await host.dataplane.founded({ signal: AbortSignal.timeout(20_000) });
  });

  test("everything can be cancelled: a host that waits for an operation stops at once", async () => {
    gce.api.looks = 1_000;
    const host = await start();
    await expect.poll(() => gce.api.changing.length).toBe(1);
    await within(ceiling(1_000), "the host stops", host.stop());
  });
});

describe("gce with IPv6", () => {
  const IPV6 = { address: "2600:1900:4000:1::a", subnet: "fd00:5:0:3::/64" };
  const IPV6_OWN = "flannel-fd00-5-0-3---64 fd00:5:0:3::/64 node-1";

  async function inProject(options: GceOptions): Promise<void> {
    gce = cleanup.use(await openGce(options));
    cleanup.use(withEnv(gce.env));
  }

  test("both families share one look at the instance and at the project, and a restart makes no changing call", async () => {
    await inProject({ ipv6: IPV6.address });
    const first = await start({ ipv6: IPV6 });
    await first.settled();
    expect(gce.api.lines).toEqual([OWN, IPV6_OWN]);
    expect(gce.api.routes.at(-1)).toMatchObject({ priority: 1000, nextHopInstance: instanceUrl("node-1") });
    expect(gce.api.calls.filter(({ method, path }) => method === "GET" && !path.includes("operations"))).toHaveLength(
      2,
    );
    expect(first.overlay.claim?.subnets.map(formatPrefix)).toEqual([SUBNET, IPV6.subnet]);
    await first.stop();
    gce.api.calls.length = 0;
    const second = await start({ ipv6: IPV6 });
    await second.settled();
    await gce.api.remove("flannel-fd00-5-0-3---64");
    await second.resync();
    expect(gce.api.lines).toEqual([OWN, IPV6_OWN]);
    expect(gce.api.changing).toEqual(["POST global/routes"]);
  });

  test("a network of IPv6 alone has that route alone, and dead instances' routes go; metadata may be at an IPv6 address", async () => {
    await inProject({ ipv6: IPV6.address, metadataHost: "[::1]" });
    for (const number of [7, 8])
      await gce.api.put({
        name: `flannel-fd00-5-0-${number}---64`,
        destRange: `fd00:5:0:${number}::/64`,
        nextHopInstance: instanceUrl("gone"),
      });
    const host = await start({ ...IPV6 });
    host.setPeers([lease("fd00:5:0:8::/64", "2600:1900:4000:1::8")]);
    await host.settled();
    expect(gce.api.lines).toEqual([IPV6_OWN, "flannel-fd00-5-0-8---64 fd00:5:0:8::/64 gone"]);
  });

  test.each([
    [{}, IPV6, "instance node-1 has no IPv6 address in projects/flannel-test/global/networks/pods"],
    [{ ipv6: "2600:1900:4000:1::b" }, IPV6, "does not have the address 2600:1900:4000:1::a; it has 192.0.2.1, 2600:"],
    [
      { ipv6: IPV6.address },
      { ...IPV6, network: "2600:1900:4000::/48" },
      "IPv6Network: 2600:1900:4000::/48 overlaps the cloud's own 2600:1900:4000:1::/64",
    ],
    [{ ipv6: IPV6.address }, { ...IPV6, network: "fd20:5::/48" }, "fd20:5::/48 overlaps the cloud's own fd20::/20"],
  ])("what is missing where the instance has %j is named", async (options, ipv6, message) => {
    await inProject(options);
    await expect(start({ ipv6 })).rejects.toThrow(message);
    expect(gce.api.calls).toEqual([]);
  });
});

describe("what Compute Engine refuses", () => {
  test("what docs/gce.md tells to grant is enough, and no more than what is needed", async () => {
    const [, granted = ""] =
      /gcloud iam roles create .* --permissions (\S+)/.exec(readFileSync("docs/gce.md", "utf8")) ?? [];
    gce.api.allowed = granted.split(",");
    await gce.api.put({ name: "flannel-10-5-7-0-24", destRange: "10.5.7.0/24", nextHopInstance: instanceUrl("gone") });
    const host = await start();
    await host.settled();
    expect(gce.api.lines).toEqual([OWN]);
    expect(gce.api.calls.filter(({ status }) => status >= 400)).toEqual([]);
    expect(gce.api.needed).toEqual(new Set(gce.api.allowed));
  });

  test.each([
    ["compute.routes.list", "--add-permissions compute.routes.list"],
    ["compute.routes.create", "--add-permissions compute.routes.create"],
    ["compute.networks.updatePolicy", "--add-permissions compute.networks.updatePolicy"],
    ["compute.instances.use", "--add-permissions compute.instances.use"],
    ["compute.globalOperations.get", "--add-permissions compute.globalOperations.get"],
  ])("without %s the log says how to grant it, and it works once it is granted", async (permission, hint) => {
    gce.api.allowed = ComputeApi.permissions(permission);
    const host = await start();
    await host.attempted();
    expect(host.log).toContain(hint);
    gce.api.allowed = ComputeApi.permissions();
    await host.settled(40_000);
    expect(gce.api.lines).toEqual([OWN]);
  });

  test("without compute.routes.delete a dead route stays and is named", async () => {
    await gce.api.put({ name: "flannel-10-5-7-0-24", destRange: "10.5.7.0/24", nextHopInstance: instanceUrl("gone") });
    gce.api.allowed = ComputeApi.permissions("compute.routes.delete");
    const host = await start();
    await host.attempted();
    expect(host.problems).toEqual([expect.stringContaining("--add-permissions compute.routes.delete")]);
    expect(gce.api.lines).toContain(OWN);
  });

  test("without compute.instances.get forwarding is taken for granted", async () => {
    gce.api.allowed = ComputeApi.permissions("compute.instances.get");
    const host = await start();
    await host.settled();
    expect(host.logger.messages("info")).toContain(
      "no leave to see whether IP forwarding is on: it is taken for granted",
    );
  });

  test("an access scope that is too small is named", async () => {
    gce.api.lacksScope = true;
    const host = await start();
    await host.attempted();
    expect(host.log).toContain("--scopes compute-rw");
  });

  test("a quota that is used up is told with its figure, be it refused at once or by the operation", async () => {
    gce.api.quota = 0;
    const host = await start();
    await host.attempted();
    expect(host.log).toContain("Quota 'ROUTES' exceeded. Limit: 0.0 globally.");
    gce.api.quota = 1;
    gce.api.failures.push({ code: "QUOTA_EXCEEDED", message: "Quota 'ROUTES' exceeded.  Limit: 7.0 globally." });
    await host.settled(40_000);
    expect(host.log).toContain("Limit: 7.0 globally.");
    expect(gce.api.lines).toEqual([OWN]);
  });

  test("too many requests are waited out", async () => {
    gce.api.throttles = 5;
    const host = await start();
    await host.settled(40_000);
    expect(gce.api.lines).toEqual([OWN]);
  });
});

describe("credentials", () => {
  test("a token that is not accepted any more is fetched anew, and none is ever logged", async () => {
    const host = await start();
    await host.settled();
    const tokens = [gce.metadata.token, "ya29.second-EXAMPLE-access-token"];
    gce.metadata.rotate("ya29.second-EXAMPLE-access-token");
    await gce.api.remove(NAME);
    await host.resync();
    expect(gce.api.lines).toEqual([OWN]);
    expect(host.logger.messages("warn")).toEqual([]);
    for (const token of tokens) expect(host.log).not.toContain(token);
  });

  test("none that is accepted is said, without it", async () => {
    gce.api.tokens.clear();
    const host = await start();
    await host.attempted();
    expect(host.log).toContain("the credentials are not accepted");
    expect(host.log).not.toContain(gce.metadata.token);
  });

  test("an instance without a service account is said as that, not as an API that cannot be reached", async () => {
    gce.metadata.hasAccount = false;
    const host = await start();
    await host.attempted();
    expect(host.log).toMatch(/no credentials: .*service account/);
    expect(host.log).not.toContain("cannot be reached");
    gce.metadata.hasAccount = true;
    await host.settled(40_000);
  });

  test("a key file that cannot be read is said, and nothing of it", async () => {
    const directory = mkdtempSync(join(tmpdir(), "gce-"));
    cleanup.defer(() => rmSync(directory, { recursive: true }));
    const file = join(directory, "key.json");
    writeFileSync(file, "-----BEGIN PRIVATE KEY-----SECRETSECRET");
    cleanup.use(withEnv({ ...gce.env, GOOGLE_APPLICATION_CREDENTIALS: file }));
    const host = await start();
    await host.attempted();
    expect(host.log).toContain("no credentials");
    expect(host.log).not.toMatch(/BEGIN|SECRET/);
  });
});

describe("metadata", () => {
  test.each([{}, { no_proxy: "example.com" }])("is never asked through the proxy, with %j", async (exempt) => {
    const proxy = cleanup.use(await listenAsProxy());
    gce = cleanup.use(await openGce({ metadataHost: "[::1]" }));
    cleanup.use(withEnv({ ...gce.env, HTTPS_PROXY: proxy.url, ...exempt }));
    const host = await start();
    await host.settled();
    const api = new URL(gce.env["CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE"] ?? "").host;
    expect(new Set(proxy.asked)).toEqual(new Set([api]));
  });

  test("a shared network is refused by name", async () => {
    gce.metadata.networkOwner = "1";
    await expect(start()).rejects.toThrow("network pods belongs to project 1 and is shared with flannel-test");
  });

  test("an address that no interface has is named with those that are there", async () => {
    await expect(start({ address: "192.0.2.77" })).rejects.toThrow("has the address 192.0.2.77; they have 192.0.2.1");
  });

  test("a Network that overlaps the subnetwork is refused by name", async () => {
    await expect(start({ network: "192.0.0.0/16" })).rejects.toThrow("overlaps the cloud's own 192.0.2.0/24");
  });

  test.each(["GCE_METADATA_HOST", "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE"])(
    "%s that makes no URL is named",
    async (name) => {
      cleanup.use(withEnv({ ...gce.env, [name]: "a b:c" }));
      await expect(start()).rejects.toThrow(new RegExp(`^${name}: does not make a URL: ".*a b:c/`));
    },
  );

  test("what is no metadata server of Google's is said", async () => {
    const { host } = new URL(gce.env["CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE"] ?? "");
    cleanup.use(withEnv({ ...gce.env, GCE_METADATA_HOST: host }));
    await expect(start()).rejects.toThrow("is no Compute Engine metadata server");
  });
});
