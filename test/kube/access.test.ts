// How the API server is reached and lets us in: as a pod, and by kubeconfigs.
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { systemClock } from "../../src/lib/clock.ts";
import { InvalidConfigError } from "../../src/lib/errors.ts";
import { RecordingLogger } from "../../src/lib/recording-logger.ts";
import { failure } from "../../src/store/conformance/registry-bench.ts";
import type { ApiAccess } from "../../src/store/kube/api-access.ts";
import { KubeSubnetManager } from "../../src/store/kube/kube-subnet-manager.ts";
import { KubeconfigAccess } from "../../src/store/kube/kubeconfig-access.ts";
import { PlainAccess } from "../../src/store/kube/plain-access.ts";
import { PodAccess, podServer } from "../../src/store/kube/pod-access.ts";
import { type Authority, makeCertificates } from "../support/certificates.ts";
import { signal } from "./bench.ts";
import { FakeApiServer } from "./fake-api-server.ts";
import { kubeconfigText } from "./kubeconfig.ts";
import { kubeOptions, RIGHTS } from "./manager.ts";

const directory = mkdtempSync(join(tmpdir(), "kube-access-"));
let authority: Authority;
let api: FakeApiServer;

beforeAll(async () => {
  authority = makeCertificates(directory, "kube");
  const read = (path: string) => readFileSync(path, "utf8");
  const tls = { cert: read(authority.server.cert), key: read(authority.server.key), clientCa: read(authority.ca) };
  api = await FakeApiServer.start({ tls });
  api.grant("kube-flannel", "flannel", RIGHTS);
  api.create({
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRoleBinding",
    metadata: { name: "by-certificate" },
    roleRef: { kind: "ClusterRole", name: "kube-flannel-flannel" },
    subjects: [{ kind: "User", name: "client" }],
  });
  api.addNode("a", ["10.5.1.0/24"]);
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

function admit(token: string): string {
  api.users.addServiceAccount(token, "kube-flannel", "flannel");
  return token;
}

/** Whether this lets us in. */
async function reads(access: ApiAccess, logger = new RecordingLogger()): Promise<unknown> {
  await using manager = new KubeSubnetManager(kubeOptions("a"), access, { clock: systemClock, logger });
  return await failure(manager.annotatedPublicIPs({ signal })).catch(() => "let in");
}

let files = 0;
async function kubeconfig(options: Parameters<typeof kubeconfigText>[1], url?: string): Promise<KubeconfigAccess> {
  const file = join(directory, `kubeconfig-${++files}`);
  writeFileSync(file, kubeconfigText(api.url, { ca: authority.ca, ...options }));
  return await KubeconfigAccess.open(file, url, systemClock);
}

test("PodAccess reads the service account's token anew for each call, since the kubelet renews it under us", async () => {
  const account = join(directory, "serviceaccount");
  mkdirSync(account);
  writeFileSync(join(account, "ca.crt"), readFileSync(authority.ca));
  const write = (token: string) => writeFileSync(join(account, "token"), `${token}\n`);
  write(admit("first"));
  const access = new PodAccess(api.url, account);
  expect(await reads(access)).toBe("let in");
  api.users.expireToken("first");
  expect(String(await reads(access))).toContain("401 Unauthorized (is the token or certificate of this cluster?)");
  write(admit("second"));
  expect(await reads(access)).toBe("let in");
  rmSync(join(account, "token"));
  expect(String(await reads(access))).toMatch(/no credentials: ENOENT.*serviceaccount\/token/);
});

test("podServer() is where the pod's environment says, and says what to do elsewhere", () => {
  const env = { KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "443" };
  expect(podServer(env)).toBe("https://10.96.0.1:443");
  expect(podServer({ ...env, KUBERNETES_SERVICE_HOST: "fd00::1" })).toBe("https://[fd00::1]:443");
  expect(() => podServer({})).toThrow(InvalidConfigError);
});

test("KubeconfigAccess lets in by token, client certificate and program", async () => {
  expect(await reads(await kubeconfig({ token: admit("by-token") }))).toBe("let in");
  expect(await reads(await kubeconfig(authority.client))).toBe("let in");
  const program = join(directory, "credential");
  const credential = {
    apiVersion: "client.authentication.k8s.io/v1",
    kind: "ExecCredential",
    status: { token: "made" },
  };
  writeFileSync(program, `#!/bin/sh\necho run >> ${program}.runs\necho '${JSON.stringify(credential)}'\n`);
  chmodSync(program, 0o755);
  const exec = { apiVersion: credential.apiVersion, command: program, interactiveMode: "Never" };
  admit("made");
  const access = await kubeconfig({ user: { exec } });
  expect(await reads(access)).toBe("let in");
  expect(await reads(access)).toBe("let in");
  expect(readFileSync(`${program}.runs`, "utf8")).toBe("run\n");
});

test("KubeconfigAccess asks its program again once the credentials it made are refused", async () => {
  const program = join(directory, "renewing");
  const write = (token: string) => {
    const credential = { apiVersion: "client.authentication.k8s.io/v1", kind: "ExecCredential", status: { token } };
    writeFileSync(program, `#!/bin/sh\necho '${JSON.stringify(credential)}'\n`, { mode: 0o755 });
  };
  write(admit("old"));
  const exec = { apiVersion: "client.authentication.k8s.io/v1", command: program, interactiveMode: "Never" };
  const access = await kubeconfig({ user: { exec } });
  expect(await reads(access)).toBe("let in");
  api.users.expireToken("old");
  write(admit("new"));
  expect(await reads(access)).toBe("let in");
});

test("KubeconfigAccess says why a program made no credentials", async () => {
  const exec = { apiVersion: "client.authentication.k8s.io/v1", command: "/nowhere/program", interactiveMode: "Never" };
  expect(String(await reads(await kubeconfig({ user: { exec } })))).toMatch(/no credentials by .*: spawn .* ENOENT/);
});

test("KubeconfigAccess goes to --kube-api-url instead of the server that the file names", async () => {
  const access = await kubeconfig({ token: admit("elsewhere") }, "https://127.0.0.1:1");
  expect(String(await reads(access))).toContain("https://127.0.0.1:1: connect ECONNREFUSED");
});

test("a server whose certificate is of another authority is refused, and a person told", async () => {
  const other = makeCertificates(directory, "other");
  const access = await kubeconfig({ ca: other.ca, token: admit("x") });
  expect(String(await reads(access))).toMatch(/StoreRefusedError: .*: TLS: .*check the cluster's authority/);
});

test.each([
  ["", /cannot be used: .*/],
  ["{", /cannot be used: .*/],
  ["{}", /has no cluster in its current context/],
])("KubeconfigAccess.open() refuses the file %j", async (text, reason) => {
  const file = join(directory, "bad");
  writeFileSync(file, text);
  const error = await failure(KubeconfigAccess.open(file, undefined, systemClock));
  expect(error).toBeInstanceOf(InvalidConfigError);
  expect(String(error)).toMatch(reason);
});

test("PlainAccess is nobody: a server that lets everybody in will do, another says what is missing", async () => {
  await using open = await FakeApiServer.start();
  expect(String(await reads(new PlainAccess(open.url)))).toContain(
    'User "system:anonymous" cannot get resource "nodes" in API group "" at the cluster scope (flannel needs get, list and watch of nodes',
  );
});
