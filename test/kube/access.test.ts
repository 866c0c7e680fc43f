// How the API server is reached and lets us in: as a pod, as nobody, and by kubeconfigs that are not as they should be.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { systemClock } from "../../src/lib/clock.ts";
import { InvalidConfigError } from "../../src/lib/errors.ts";
import { failure } from "../../src/store/conformance/registry-bench.ts";
import { KubeconfigAccess } from "../../src/store/kube/kubeconfig-access.ts";
import { PlainAccess } from "../../src/store/kube/plain-access.ts";
import { PodAccess, podServer } from "../../src/store/kube/pod-access.ts";
import { makeCertificates } from "../support/certificates.ts";
import { AccessBench } from "./access-bench.ts";
import { FakeApiServer } from "./fake-api-server.ts";

let bench: AccessBench;
beforeAll(async () => {
  bench = await AccessBench.start();
});
afterAll(() => bench[Symbol.asyncDispose]());

test("PodAccess reads the service account's token anew for each call, since the kubelet renews it under us", async () => {
  const account = join(bench.directory, "serviceaccount");
  mkdirSync(account);
  writeFileSync(join(account, "ca.crt"), readFileSync(bench.authority.ca));
  const write = (token: string) => writeFileSync(join(account, "token"), `${token}\n`);
  write(bench.admit("first"));
  const access = new PodAccess(bench.api.url, account);
  expect(await bench.reads(access)).toBe("let in");
  bench.api.users.expireToken("first");
  expect(String(await bench.reads(access))).toContain(
    "401 Unauthorized (is the token or certificate of this cluster?)",
  );
  write(bench.admit("second"));
  expect(await bench.reads(access)).toBe("let in");
  rmSync(join(account, "token"));
  expect(String(await bench.reads(access))).toMatch(/no credentials: ENOENT.*serviceaccount\/token/);
});

test("podServer() is where the pod's environment says, and says what to do elsewhere", () => {
  const env = { KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "443" };
  expect(podServer(env)).toBe("https://10.96.0.1:443");
  expect(podServer({ ...env, KUBERNETES_SERVICE_HOST: "fd00::1" })).toBe("https://[fd00::1]:443");
  expect(() => podServer({})).toThrow(InvalidConfigError);
});

test("KubeconfigAccess goes to --kube-api-url instead of the server that the file names", async () => {
  const access = await bench.kubeconfig({ token: bench.admit("elsewhere") }, "https://127.0.0.1:1");
  expect(String(await bench.reads(access))).toContain("https://127.0.0.1:1: connect ECONNREFUSED");
});

test("a server whose certificate is of another authority is refused, and a person told", async () => {
  const other = makeCertificates(bench.directory, "other");
  const access = await bench.kubeconfig({ ca: other.ca, token: bench.admit("x") });
  expect(String(await bench.reads(access))).toMatch(/StoreRefusedError: .*: TLS: .*check the cluster's authority/);
});

test.each([
  ["", /cannot be used: .*/],
  ["{", /cannot be used: .*/],
  ["{}", /has no cluster in its current context/],
])("KubeconfigAccess.open() refuses the file %j", async (text, reason) => {
  const file = join(bench.directory, "bad");
  writeFileSync(file, text);
  const error = await failure(KubeconfigAccess.open(file, undefined, systemClock));
  expect(error).toBeInstanceOf(InvalidConfigError);
  expect(String(error)).toMatch(reason);
});

test("PlainAccess is nobody: a server that lets everybody in will do, another says what is missing", async () => {
  await using open = await FakeApiServer.start();
  expect(String(await bench.reads(new PlainAccess(open.url)))).toContain(
    'User "system:anonymous" cannot get resource "nodes" in API group "" at the cluster scope (flannel needs get, list and watch of nodes',
  );
});
