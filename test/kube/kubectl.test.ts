// kubectl (Debian's kubernetes-client) keeps the fake API server honest: it is a client of the real API and knows nothing of the fake.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { waitUntil } from "../../src/lab/wait.ts";
import { type Authority, makeCertificates } from "../support/certificates.ts";
import { nodes } from "./api/objects.ts";
import { FakeApiServer } from "./fake-api-server.ts";
import { kubeconfigText } from "./kubeconfig.ts";
import { MANIFEST } from "./manifest.ts";

const { signal } = new AbortController();
const directory = mkdtempSync(join(tmpdir(), "flannel-kubectl-"));
const admin = join(directory, "admin.kubeconfig");
let authority: Authority;
let api: FakeApiServer;

beforeAll(async () => {
  authority = makeCertificates(directory, "kube");
  const read = (path: string) => readFileSync(path, "utf8");
  const tls = { cert: read(authority.server.cert), key: read(authority.server.key), clientCa: read(authority.ca) };
  api = await FakeApiServer.start({ tls, bookmarkEvery: 100 });
  writeFileSync(admin, kubeconfigText(api.url, { ca: authority.ca, token: api.adminToken }));
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

let number = 0;
let node = "";
beforeEach(() => {
  node = `node-${++number}`;
  api.addNode(node, [`10.5.${number}.0/24`, `fd00:5:${number}::/64`]);
});

const base = (kubeconfig: string) => ["--kubeconfig", kubeconfig, "--cache-dir", join(directory, "cache")];

async function kubectl(args: readonly string[], kubeconfig = admin): Promise<string> {
  const { stdout } = await promisify(execFile)("kubectl", [...base(kubeconfig), ...args]);
  return stdout;
}

const failureOf = (args: readonly string[], kubeconfig?: string) =>
  kubectl(args, kubeconfig).then(
    () => "",
    (error: { readonly stderr: string }) => error.stderr,
  );

test("kubectl gets nodes as a table, as JSON, in pages and by field", async () => {
  expect(await kubectl(["get", "nodes"])).toMatch(new RegExp(`^NAME +STATUS +ROLES +AGE +VERSION\n[^]*${node} +Ready`));
  const listed = JSON.parse(await kubectl(["get", "nodes", "-o", "json", "--chunk-size=1"])) as {
    items: readonly unknown[];
  };
  expect(listed.items).toHaveLength(api.store.list(nodes()).length);
  expect(await kubectl(["get", "node", node, "-o", "jsonpath={.spec.podCIDRs}"])).toBe(
    `["10.5.${number}.0/24","fd00:5:${number}::/64"]`,
  );
  const selected = await kubectl(["get", "nodes", `--field-selector=metadata.name=${node}`, "-o", "name"]);
  expect(selected.trim()).toBe(`node/${node}`);
  expect(await failureOf(["get", "node", "nobody"])).toContain('nodes "nobody" not found');
  expect(await failureOf(["get", "nodes", "--field-selector=spec.colour=red"])).toContain("field label not supported");
});

test("kubectl annotates nodes, also away again, and is told of a version that is not the present one", async () => {
  await kubectl(["annotate", "node", node, "flannel.alpha.coreos.com/public-ip=192.0.2.1"]);
  expect(api.node(node)?.metadata.annotations).toMatchObject({ "flannel.alpha.coreos.com/public-ip": "192.0.2.1" });
  const stale = [
    "annotate",
    "node",
    node,
    "--resource-version=1",
    "--overwrite",
    "flannel.alpha.coreos.com/public-ip=x",
  ];
  expect(await failureOf(stale)).toContain("the object has been modified");
  await kubectl(["annotate", "node", node, "flannel.alpha.coreos.com/public-ip-"]);
  expect(api.node(node)?.metadata.annotations).not.toHaveProperty("flannel.alpha.coreos.com/public-ip");
});

test("kubectl patches nodes in the three ways, each with its own merging", async () => {
  const patch = (type: string, body: object) =>
    kubectl(["patch", "node", node, `--type=${type}`, "-p", JSON.stringify(body)]);
  const annotations = () => api.node(node)?.metadata.annotations;
  await patch("merge", { metadata: { annotations: { "a/b": "1" } } });
  await patch("json", [{ op: "add", path: "/metadata/annotations/c~1d", value: "2" }] as never);
  expect(annotations()).toMatchObject({ "a/b": "1", "c/d": "2" });
  await patch("strategic", {
    metadata: { annotations: { "a/b": null } },
    spec: { taints: [{ key: "k", effect: "NoSchedule" }] },
  });
  await patch("strategic", { spec: { taints: [{ key: "l", effect: "NoSchedule" }] } });
  expect(annotations()).not.toHaveProperty("a/b");
  expect(api.node(node)?.["spec"]).toMatchObject({ taints: [{ key: "k" }, { key: "l" }] });
  const version = api.node(node)?.metadata.resourceVersion;
  expect(await patch("merge", { metadata: { annotations: { "c/d": "2" } } })).toContain("(no change)");
  expect(api.node(node)?.metadata.resourceVersion).toBe(version);
});

test("kubectl may not change what no client can: a node's podCIDR, its status through the node itself", async () => {
  const patch = (body: object) => ["patch", "node", node, "-p", JSON.stringify(body)];
  expect(await failureOf(patch({ spec: { podCIDR: "10.9.9.0/24", podCIDRs: ["10.9.9.0/24"] } }))).toContain(
    "node updates may not change podCIDR except from empty",
  );
  await kubectl(patch({ status: { conditions: [{ type: "NetworkUnavailable", status: "True" }] } }));
  expect(JSON.stringify(api.node(node)?.["status"])).not.toContain("NetworkUnavailable");
});

test("kubectl watches nodes: added, changed and deleted", async () => {
  const args = [...base(admin), "get", "nodes", "-w", "--output-watch-events"];
  const watch = spawn("kubectl", args, { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const seen = linesOf(watch);
    const until = (line: RegExp) =>
      waitUntil(() => seen.some((each) => line.test(each)), {
        signal,
        within: 20_000,
        what: `${String(line)} in\n${seen.join("\n")}`,
      });
    await until(new RegExp(`ADDED +${node} `));
    api.addNode("joined", ["10.5.200.0/24"]);
    await until(/ADDED +joined /);
    api.annotate("joined", { "a/b": "1" });
    await until(/MODIFIED +joined /);
    api.removeNode("joined");
    await until(/DELETED +joined /);
  } finally {
    watch.kill("SIGKILL");
    if (watch.exitCode === null && watch.signalCode === null) await once(watch, "exit");
  }
});

test("kubectl creates, and deletes, and dry-runs on the server", async () => {
  const file = join(directory, "map.json");
  const metadata = { name: "flannel", namespace: "kube-flannel" };
  writeFileSync(file, JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata, data: { a: "b" } }));
  // By its path: --dry-run=server would have an old kubectl ask for the whole schema of the API, which the fake has not.
  const path = "/api/v1/namespaces/kube-flannel/configmaps";
  expect(await kubectl(["create", "--raw", `${path}?dryRun=All`, "-f", file])).toContain('"data"');
  expect(await failureOf(["get", "cm", "-n", "kube-flannel", "flannel"])).toContain("not found");
  await kubectl(["create", "--validate=false", "-f", file]);
  expect(await kubectl(["get", "cm", "-n", "kube-flannel", "flannel", "-o", "jsonpath={.data.a}"])).toBe("b");
  await kubectl(["delete", "node", node]);
  expect(api.node(node)).toBeUndefined();
});

test("kubectl applies the manifest over a later release's objects, and finds nothing to do when it applies it again", async () => {
  const labels = { app: "flannel", "k8s-app": "flannel" };
  const metadata = { name: "kube-flannel-ds", namespace: "kube-flannel", labels };
  const containers = [{ name: "kube-flannel", image: "flannel:v0.28.6", args: ["--ip-masq", "--kube-subnet-mgr"] }];
  const template = { metadata: { labels }, spec: { containers } };
  const theirs = join(directory, "theirs.json");
  const apply = (file: string) => kubectl(["apply", "--validate=false", "-f", file]);
  const write = (matchLabels: object) => {
    const object = {
      apiVersion: "apps/v1",
      kind: "DaemonSet",
      metadata,
      spec: { selector: { matchLabels }, template },
    };
    writeFileSync(theirs, JSON.stringify(object));
  };
  write(labels);
  await apply(theirs);
  expect(await apply(MANIFEST)).toContain("daemonset.apps/kube-flannel-ds configured");
  const image = "jsonpath={.spec.template.spec.containers[*].image}";
  const imagesOf = () => kubectl(["get", "ds", "-n", "kube-flannel", "kube-flannel-ds", "-o", image]);
  expect(await imagesOf()).toMatch(/^localhost\/flannel:\S+$/); // theirs is not there beside it
  const again = (await apply(MANIFEST)).trim().split("\n");
  expect(again).toHaveLength(6);
  for (const line of again) expect(line).toMatch(/ unchanged$/);
  write({ app: "other" });
  expect(await failureOf(["apply", "--validate=false", "-f", theirs])).toContain("field is immutable");
});

test("kubectl gets only what roles allow a service account, and nothing with an expired token", async () => {
  api.users.addServiceAccount("flannel-token", "kube-flannel", "flannel");
  api.grant("kube-flannel", "flannel", [{ apiGroups: [""], resources: ["nodes"], verbs: ["get", "list", "watch"] }]);
  const kubeconfig = join(directory, "flannel.kubeconfig");
  writeFileSync(kubeconfig, kubeconfigText(api.url, { ca: authority.ca, token: "flannel-token" }));
  expect(await kubectl(["get", "node", node, "-o", "name"], kubeconfig)).toContain(node);
  expect(await failureOf(["annotate", "node", node, "a/b=c"], kubeconfig)).toContain(
    `nodes "${node}" is forbidden: User "system:serviceaccount:kube-flannel:flannel" cannot patch resource "nodes" in API group "" at the cluster scope`,
  );
  api.users.expireToken("flannel-token");
  expect(await failureOf(["get", "nodes"], kubeconfig)).toMatch(/Unauthorized|must be logged in/);
});

test("kubectl acts as somebody else, of these groups, as far as its own rights allow", async () => {
  const as = (...args: readonly string[]) => ["get", "node", node, "-o", "name", ...args];
  expect(await kubectl(as("--as=somebody", "--as-group=system:masters", "--as-uid=u-1"))).toContain(node);
  expect(api.calls.at(-1)?.identity).toEqual({
    name: "somebody",
    groups: ["system:masters", "system:authenticated"],
    uid: "u-1",
    extra: {},
  });
  expect(await failureOf(as("--as=somebody"))).toContain('User "somebody" cannot get resource "nodes"');
  api.users.addServiceAccount("impersonator", "default", "impersonator");
  api.grant("default", "impersonator", [{ apiGroups: [""], resources: ["users"], verbs: ["impersonate"] }]);
  const kubeconfig = join(directory, "impersonator.kubeconfig");
  writeFileSync(kubeconfig, kubeconfigText(api.url, { ca: authority.ca, token: "impersonator" }));
  expect(await failureOf(as("--as=somebody", "--as-group=system:masters"), kubeconfig)).toContain(
    'User "system:serviceaccount:default:impersonator" cannot impersonate resource "groups"',
  );
});

test("kubectl is known by its client certificate", async () => {
  const kubeconfig = join(directory, "certificate.kubeconfig");
  writeFileSync(kubeconfig, kubeconfigText(api.url, { ca: authority.ca, ...authority.client }));
  expect(await failureOf(["get", "nodes"], kubeconfig)).toContain('User "client" cannot list resource "nodes"');
});

function linesOf(child: ChildProcess): readonly string[] {
  const lines: string[] = [];
  if (child.stdout !== null) createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
  return lines;
}
