// Every way to be let in that a kubeconfig can name; the ways to the server are in proxy.test.ts.
import { readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { systemClock } from "../../src/lib/clock.ts";
import { InvalidConfigError } from "../../src/lib/errors.ts";
import { failure } from "../../src/store/conformance/registry-bench.ts";
import { KubeconfigAccess } from "../../src/store/kube/kubeconfig-access.ts";
import { AccessBench } from "./access-bench.ts";
import { kubeconfigText } from "./kubeconfig.ts";
import { OidcIssuer } from "./oidc-issuer.ts";

let bench: AccessBench;
beforeAll(async () => {
  bench = await AccessBench.start();
});
afterAll(() => bench[Symbol.asyncDispose]());

const base64 = (file: string) => readFileSync(file).toString("base64");
const EXEC_CREDENTIAL = { apiVersion: "client.authentication.k8s.io/v1", kind: "ExecCredential" };

/** A program that prints these credentials, counts its runs and keeps what it was told. */
function program(name: string, status: object): string {
  const script = (path: string) => `#!/bin/sh
echo run >> ${path}.runs
printf %s "$KUBERNETES_EXEC_INFO" > ${path}.told
cat <<'END'
${JSON.stringify({ ...EXEC_CREDENTIAL, status })}
END
`;
  const path = bench.write(name, "", 0o700);
  writeFileSync(path, script(path));
  return path;
}

const exec = (command: string, more: object = {}) => ({
  user: { exec: { apiVersion: EXEC_CREDENTIAL.apiVersion, command, interactiveMode: "Never", ...more } },
});
const provider = (name: string, config: object) => ({ user: { "auth-provider": { name, config } } });

test("a token lets in, and a password, which a proxy before the server may want", async () => {
  expect(await bench.reads(await bench.kubeconfig({ token: bench.admit("by-token") }))).toBe("let in");
  const user = bench.admitPassword("node", "pass:wörd");
  expect(await bench.reads(await bench.kubeconfig({ user }))).toBe("let in");
  const wrong = await bench.kubeconfig({ user: { ...user, password: "other" } });
  expect(String(await bench.reads(wrong))).toContain("401 Unauthorized");
});

test("a token in a file is read anew for each call, and wins over one that is written there", async () => {
  bench.write("token", `${bench.admit("in-file")}\n`);
  const access = await bench.kubeconfig({ token: "old", user: { tokenFile: "token" } }); // beside the kubeconfig
  expect(await bench.reads(access)).toBe("let in");
  bench.api.users.expireToken("in-file");
  bench.write("token", `${bench.admit("renewed")}\n`);
  expect(await bench.reads(access)).toBe("let in");
  const nowhere = await bench.kubeconfig({ user: { tokenFile: "/nowhere/token" } });
  expect(String(await bench.reads(nowhere))).toMatch(/no credentials by .*: ENOENT.*\/nowhere\/token/);
});

test("client certificates let in from files, and from the kubeconfig itself", async () => {
  const { ca, client } = bench.authority;
  expect(await bench.reads(await bench.kubeconfig(client))).toBe("let in");
  const data = { "client-certificate-data": base64(client.cert), "client-key-data": base64(client.key) };
  const cluster = { "certificate-authority": undefined, "certificate-authority-data": base64(ca) };
  expect(await bench.reads(await bench.kubeconfig({ user: data, cluster }))).toBe("let in");
});

test("a program lets in by the token that it makes, once, and by a client certificate", async () => {
  const path = program("by-token", { token: bench.admit("made") });
  const access = await bench.kubeconfig(exec(path));
  expect(await bench.reads(access)).toBe("let in");
  expect(await bench.reads(access)).toBe("let in");
  expect(readFileSync(`${path}.runs`, "utf8")).toBe("run\n");
  const { cert, key } = bench.authority.client;
  const status = { clientCertificateData: readFileSync(cert, "utf8"), clientKeyData: readFileSync(key, "utf8") };
  expect(await bench.reads(await bench.kubeconfig(exec(program("by-certificate", status))))).toBe("let in");
});

test("a program is asked again once its credentials are over, or refused", async () => {
  const over = { expirationTimestamp: new Date(Date.now() - 1_000).toISOString() };
  const path = program("over", { token: bench.admit("short"), ...over });
  const access = await bench.kubeconfig(exec(path));
  for (let time = 1; time <= 2; time++) expect(await bench.reads(access)).toBe("let in");
  expect(readFileSync(`${path}.runs`, "utf8")).toBe("run\nrun\n");
  const renewing = await bench.kubeconfig(exec(program("renewing", { token: bench.admit("old") })));
  expect(await bench.reads(renewing)).toBe("let in");
  bench.api.users.expireToken("old");
  program("renewing", { token: bench.admit("new") });
  expect(await bench.reads(renewing)).toBe("let in");
});

test("a program is found beside the kubeconfig, and is told which cluster it is for if it wants that", async () => {
  const path = program("beside", { token: bench.admit("beside") });
  expect(await bench.reads(await bench.kubeconfig(exec("./beside", { provideClusterInfo: true })))).toBe("let in");
  const told = JSON.parse(readFileSync(`${path}.told`, "utf8")) as unknown;
  const cluster = { server: bench.api.url, "certificate-authority-data": base64(bench.authority.ca) };
  expect(told).toEqual({ ...EXEC_CREDENTIAL, spec: { interactive: false, cluster } });
  expect(await bench.reads(await bench.kubeconfig(exec("./beside")))).toBe("let in");
  expect(JSON.parse(readFileSync(`${path}.told`, "utf8"))).toEqual({
    ...EXEC_CREDENTIAL,
    spec: { interactive: false },
  });
  const unreadable = bench.kubeconfig({ ca: "/nowhere/ca.pem", ...exec(path, { provideClusterInfo: true }) });
  expect(await failure(unreadable)).toBeInstanceOf(InvalidConfigError);
});

test("a program that makes no credentials is named with the reason", async () => {
  const missing = await bench.reads(await bench.kubeconfig(exec("/nowhere/program")));
  expect(String(missing)).toMatch(/no credentials by .*: spawn .* ENOENT/);
  const path = bench.write("failing", "#!/bin/sh\necho not logged in >&2\nexit 1\n", 0o700);
  expect(String(await bench.reads(await bench.kubeconfig(exec(path))))).toMatch(/no credentials by .*: not logged in/);
});

test("an OpenID Connect token lets in, and is renewed once it has run out, or is refused", async () => {
  await using issuer = await OidcIssuer.start(bench.authority);
  const config = (lifetime: number, more: object = {}) => {
    const ca = { "idp-certificate-authority": bench.authority.ca };
    const client = { "client-id": "flannel", "client-secret": "secret", "refresh-token": "refresh-1" };
    return { "idp-issuer-url": issuer.url, "id-token": issuer.idToken(lifetime), ...ca, ...client, ...more };
  };
  const valid = config(600);
  bench.admit(valid["id-token"]);
  const access = await bench.kubeconfig(provider("oidc", valid));
  expect(await bench.reads(access)).toBe("let in");
  expect(issuer.shown).toEqual([]);
  bench.api.users.expireToken(valid["id-token"]);
  issuer.onToken = (token) => void bench.admit(token);
  expect(await bench.reads(access)).toBe("let in");
  expect(issuer.shown).toEqual(["refresh-1"]); // and not "refresh-1" a second time: the issuer has given another one

  issuer.shown.length = 0;
  issuer.forget();
  const data = { "idp-certificate-authority": undefined, "idp-certificate-authority-data": base64(bench.authority.ca) };
  const over = await bench.kubeconfig(provider("oidc", config(-1, data)));
  expect(await Promise.all([bench.reads(over), bench.reads(over)])).toEqual(["let in", "let in"]);
  expect(await bench.reads(over)).toBe("let in");
  expect(issuer.shown).toEqual(["refresh-1"]); // once for all
  bench.api.users.expireToken(issuer.last);
  expect(await bench.reads(over)).toBe("let in");
  expect(issuer.shown).toEqual(["refresh-1", "refresh-2"]);
});

test("an OpenID Connect token that cannot be renewed is a reason to be told, and nobody asks as somebody else", async () => {
  await using issuer = await OidcIssuer.start(bench.authority);
  const config = { "idp-issuer-url": issuer.url, "client-id": "flannel", "id-token": issuer.idToken(-1) };
  const says = async (more: object) =>
    String(await bench.reads(await bench.kubeconfig(provider("oidc", { ...config, ...more }))));
  expect(await says({})).toMatch(/no credentials by .*: its id-token has run out, and there is no refresh-token/);
  expect(await says({ "refresh-token": "refresh-1" })).toMatch(/no credentials by .*(certificate|fetch)/); // of an unknown authority
  const ca = { "idp-certificate-authority": bench.authority.ca };
  expect(await says({ "refresh-token": "stolen", ...ca })).toMatch(/no credentials by .*(invalid_grant|error)/);
  expect(String(await bench.reads(await bench.kubeconfig(provider("openstack", {}))))).toMatch(
    /no credentials by .*: its auth-provider "openstack" gives none, or is not known/,
  );
});

test.each(["gcp", "azure"])("a program of a cloud lets in, as kubeconfigs had it before exec (%s)", async (name) => {
  const write = (token: string, more: object = {}) => {
    const answer = JSON.stringify({ credential: { token: bench.admit(token), ...more } });
    return bench.write(`cloud-${name}`, `#!/bin/sh\necho "$*" >> "$0.runs"\necho '${answer}'\n`, 0o700);
  };
  const path = write(`first-of-${name}`);
  const keys = { "token-key": "{.credential.token}", "expiry-key": "{.credential['expiry']}" };
  const config = { "cmd-path": path, "cmd-args": "config  get; --all", ...keys };
  const access = await bench.kubeconfig(provider(name, config));
  for (let time = 1; time <= 2; time++) expect(await bench.reads(access)).toBe("let in");
  const runs = () => readFileSync(`${path}.runs`, "utf8").trim().split("\n");
  expect(runs()).toEqual(["config get; --all"]); // by no shell
  bench.api.users.expireToken(`first-of-${name}`);
  write(`second-of-${name}`, { expiry: new Date(Date.now() - 1_000).toISOString() });
  expect(await bench.reads(access)).toBe("let in");
  expect(await bench.reads(access)).toBe("let in");
  expect(runs()).toHaveLength(3); // what is over already is good for one call
  write("", { token: "" });
  expect(String(await bench.reads(access))).toMatch(
    /no credentials by .*: .*cloud-.* printed no token where token-key leads/,
  );
  bench.write(`cloud-${name}`, "#!/bin/sh\necho secret\n", 0o700);
  expect(String(await bench.reads(access))).toMatch(/no credentials by .*: .*cloud-.* printed what is no JSON$/);
  const odd = await bench.kubeconfig(provider(name, { ...config, "token-key": ".token" }));
  bench.write(`cloud-${name}`, "#!/bin/sh\necho '{}'\n", 0o700);
  expect(String(await bench.reads(odd))).toMatch(/token-key of its auth-provider .* must be a path in braces/);
});

test("a token of azure lets in until it runs out, and then the next one that somebody writes into the file", async () => {
  const soon = (seconds: number) => String(Math.floor(Date.now() / 1000) + seconds);
  const options = (token: string, end: string) => provider("azure", { "access-token": token, "expires-on": end });
  const file = bench.kubeconfigFile(options(bench.admit("of-azure"), soon(-1)));
  const access = await KubeconfigAccess.open(file, undefined, systemClock);
  expect(String(await bench.reads(access))).toMatch(
    /no credentials by .*: access-token of its auth-provider azure: it has run out, and no cmd-path names a program for it/,
  );
  const write = (token: string, end: string) => {
    const ca = bench.authority.ca;
    writeFileSync(file, kubeconfigText(bench.api.url, { ca, ...options(token, end) }));
  };
  write("not-yet-known", soon(600));
  await bench.reads(access); // reads the file anew, once it has failed by what it had
  expect(String(await bench.reads(access))).toContain("401 Unauthorized");
  bench.admit("not-yet-known");
  expect(await bench.reads(access)).toBe("let in");
});

test("who acts as somebody else has that one's rights, by name, groups, UID and all else that the kubeconfig says", async () => {
  const { api } = bench;
  const apiGroup = "rbac.authorization.k8s.io";
  const role = { roleRef: { apiGroup, kind: "ClusterRole", name: "kube-flannel-flannel" } };
  const subjects = [{ kind: "Group", name: "flannels" }];
  const metadata = { name: "by-group" };
  api.create({ apiVersion: `${apiGroup}/v1`, kind: "ClusterRoleBinding", metadata, ...role, subjects });
  const rule = (resources: readonly string[], group = "") => ({
    apiGroups: [group],
    resources,
    verbs: ["impersonate"],
  });
  const others = ["uids", "userextras/reason", "userextras/example.org/(why)"];
  api.users.addServiceAccount("impersonator", "default", "impersonator");
  api.grant("default", "impersonator", [rule(["users", "groups"]), rule(others, "authentication.k8s.io")]);
  const says = async (user: object) =>
    String(await bench.reads(await bench.kubeconfig({ token: "impersonator", user })));

  expect(await says({})).toContain('User "system:serviceaccount:default:impersonator" cannot get');
  expect(await says({ as: "node-a" })).toContain('User "node-a" cannot get');
  const extra = { reason: ["by hand", "twice"], "example.org/(why)": ["100%"] };
  const all = { as: "node-a", "as-groups": ["others", "flannels"], "as-uid": "u-1", "as-user-extra": extra };
  expect(await says(all)).toBe("let in");
  const groups = ["others", "flannels", "system:authenticated"];
  expect(api.calls.at(-1)?.identity).toEqual({ name: "node-a", groups, uid: "u-1", extra });
});

test.each([
  [{ "as-groups": ["flannels"] }, /as of user "test" must be there where as-uid, as-groups or as-user-extra is/],
  [{ as: "a", "as-groups": "flannels" }, /as-groups of user "test" must be a list of texts, not "flannels"/],
  [{ as: "a\nb" }, /as of user "test" must be text without control characters, not "a\\nb"/],
  [{ as: "a", "as-user-extra": { reason: [5] } }, /as-user-extra "reason" of user "test" must be text .*, not 5/],
])("a kubeconfig's user %j is refused, and the field named", async (user, reason) => {
  const error = await failure(bench.kubeconfig({ user }));
  expect(error).toBeInstanceOf(InvalidConfigError);
  expect(String(error)).toMatch(reason);
});

test("the server's certificate is checked for tls-server-name, and not at all if that is said", async () => {
  const token = bench.admit("named");
  const says = async (cluster: object) => String(await bench.reads(await bench.kubeconfig({ token, cluster })));
  expect(await says({ "tls-server-name": "localhost" })).toBe("let in");
  expect(await says({ "tls-server-name": "elsewhere.example" })).toMatch(/TLS: .*elsewhere\.example/);
  expect(await says({ "certificate-authority": undefined })).toMatch(/TLS: /);
  expect(await says({ "certificate-authority": undefined, "insecure-skip-tls-verify": true })).toBe("let in");
});
