import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { ConfigNotFoundError, StoreRefusedError, StoreUnavailableError } from "../../src/lease/errors.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { describeError } from "../../src/lib/errors.ts";
import { silentLogger } from "../../src/lib/logger.ts";
import { type EtcdFlags, parseEtcdOptions } from "../../src/store/etcd/options.ts";
import { EtcdV2Registry } from "../../src/store/etcd-v2/etcd-v2-registry.ts";
import { type Certificates, makeCertificates } from "../support/certificates.ts";
import { EtcdServer } from "../support/etcd.ts";

const { signal } = new AbortController();
const options = { signal };
const claim = {
  subnet: parsePrefix("10.5.34.0/24"),
  attributes: { publicIP: parseAddress("192.0.2.1") },
  isReservation: false,
};
let cleanup = new AsyncDisposableStack();

afterEach(async () => {
  await cleanup.disposeAsync();
  cleanup = new AsyncDisposableStack();
});

function open(endpoints: string, flags: Partial<EtcdFlags> = {}): EtcdV2Registry {
  const parsed = parseEtcdOptions({ endpoints, prefix: "/access", ...flags });
  return cleanup.use(new EtcdV2Registry(parsed, { clock: systemClock, logger: silentLogger }));
}

/** Everything that takes a way of its own to the server. */
async function works(registry: EtcdV2Registry): Promise<true> {
  const { cursor } = await registry.listLeases("", options);
  const lease = await registry.createLease("", claim, options);
  for await (const { events } of registry.watchLeases("", cursor, options)) if (events.length > 0) break;
  await registry.deleteLease("", lease, options);
  return true;
}

async function failure(work: Promise<unknown>): Promise<Error> {
  try {
    await work;
  } catch (error) {
    return error as Error;
  }
  return expect.unreachable("it succeeded");
}

/** Why every call is refused, if it is. */
async function refusals(registry: EtcdV2Registry): Promise<string> {
  const reasons = new Set<string>();
  const watch = registry.watchLeases("", { history: "1", index: 1n }, options)[Symbol.asyncIterator]();
  for (const call of [
    () => registry.getConfig("", options),
    () => registry.createLease("", claim, options),
    () => watch.next(),
  ]) {
    const error = await failure(call());
    expect(error).toBeInstanceOf(StoreRefusedError);
    reasons.add(describeError(error));
  }
  return [...reasons].join("\n");
}

describe("EtcdV2Registry by TLS", () => {
  let directory: string;
  let ours: Certificates;
  let others: Certificates;
  let server: EtcdServer;
  let strict: EtcdServer;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), "flannel-tls-"));
    ours = makeCertificates(directory, "ours");
    others = makeCertificates(directory, "others");
    server = await EtcdServer.start({ tls: ours.server });
    strict = await EtcdServer.start({ tls: { ...ours.server, clientCa: ours.ca } });
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await strict[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true });
  });

  const withCertificate = ({ client }: Certificates, caFile: string) => ({
    caFile,
    certFile: client.cert,
    keyFile: client.key,
  });

  test("works with a CA alone", async () => {
    expect(await works(open(server.endpoint, { caFile: ours.ca }))).toBe(true);
  });

  test("works with a client certificate where the server wants one", async () => {
    expect(await works(open(strict.endpoint, withCertificate(ours, ours.ca)))).toBe(true);
  });

  test("refuses a server of another CA, naming the flag", async () => {
    expect(await refusals(open(server.endpoint, { caFile: others.ca }))).toMatch(/certificate.*--etcd-cafile/);
  });

  test("refuses a server of a CA that the system does not know", async () => {
    expect(await refusals(open(server.endpoint))).toMatch(/certificate.*--etcd-cafile/);
  });

  test("tells that the server wants a client certificate", async () => {
    expect(await refusals(open(strict.endpoint, { caFile: ours.ca }))).toMatch(/certificate.*--etcd-certfile/);
  });

  test("tells that the server does not take our client certificate", async () => {
    expect(await refusals(open(strict.endpoint, withCertificate(others, ours.ca)))).toMatch(
      /certificate.*--etcd-certfile/,
    );
  });

  test("refuses a server whose certificate has another name", async () => {
    const elsewhere = cleanup.use(await EtcdServer.start({ tls: ours.server, host: "127.0.0.2" }));
    expect(await refusals(open(elsewhere.endpoint, { caFile: ours.ca }))).toMatch(/127\.0\.0\.2.*names/);
  });

  test("tells that a server speaks no TLS, or nothing else", async () => {
    const plain = cleanup.use(await EtcdServer.start());
    for (const [endpoint, reason] of [
      [plain.endpoint.replace("http:", "https:"), "(if it speaks no TLS, use http://)"],
      [server.endpoint.replace("https:", "http:"), "(if it speaks only TLS, use https://)"],
    ] as const) {
      const error = await failure(open(endpoint, { caFile: ours.ca }).getConfig("", options));
      expect(error).toBeInstanceOf(StoreUnavailableError);
      expect(error.message).toContain(reason);
    }
  });

  test("names the flag of a file that is missing or no PEM", async () => {
    const missing = join(directory, "missing.pem");
    expect(await refusals(open(server.endpoint, { caFile: missing }))).toMatch(
      /--etcd-cafile: cannot be read: ENOENT.*missing\.pem/,
    );
    const garbage = join(directory, "garbage.pem");
    writeFileSync(garbage, "garbage");
    expect(await refusals(open(server.endpoint, { caFile: garbage }))).toMatch(
      /--etcd-cafile: .*garbage\.pem is not in PEM form/,
    );
    const mixed = { caFile: ours.ca, certFile: ours.client.cert, keyFile: others.client.key };
    expect(await refusals(open(server.endpoint, mixed))).toMatch(/--etcd-keyfile: .*key values mismatch/i);
  });

  test("uses files that were changed meanwhile", async () => {
    const files = { caFile: join(directory, "ca"), certFile: join(directory, "cert"), keyFile: join(directory, "key") };
    const install = ({ ca, client }: Certificates) => {
      copyFileSync(ca, files.caFile);
      copyFileSync(client.cert, files.certFile);
      copyFileSync(client.key, files.keyFile);
    };
    install(others);
    const registry = open(strict.endpoint, files);
    expect(await refusals(registry)).toMatch(/certificate/);
    install(ours);
    expect(await works(registry)).toBe(true);
    install(others);
    expect(await refusals(registry)).toMatch(/certificate/);
  });

  test("goes on to an endpoint that takes it", async () => {
    const registry = open(`${strict.endpoint},${server.endpoint}`, { caFile: ours.ca });
    expect(await works(registry)).toBe(true);
  });
});

describe("EtcdV2Registry with a password", () => {
  let server: EtcdServer;

  beforeAll(async () => {
    server = await EtcdServer.start();
    const root = { Authorization: `Basic ${btoa("root:secret")}` };
    const curl = async (method: string, path: string, body: unknown) => {
      const answer = await fetch(`${server.endpoint}/v2/auth/${path}`, {
        method,
        headers: root,
        body: JSON.stringify(body),
      });
      if (!answer.ok) throw new Error(await answer.text());
    };
    const kv = { read: ["/access/*"], write: ["/access/*"] };
    await curl("PUT", "users/root", { user: "root", password: "secret" });
    await curl("PUT", "roles/flannel", { role: "flannel", permissions: { kv } });
    await curl("PUT", "roles/none", { role: "none", permissions: { kv: { read: ["/x"], write: ["/x"] } } });
    await curl("PUT", "users/flannel", { user: "flannel", password: "pass:wörd", roles: ["flannel"] });
    await curl("PUT", "users/nobody", { user: "nobody", password: "nothing", roles: ["none"] });
    await curl("PUT", "enable", undefined);
    await curl("PUT", "roles/guest", { role: "guest", revoke: { kv: { read: ["/*"], write: ["/*"] } } });
  });
  afterAll(() => server[Symbol.asyncDispose]());

  test("works", async () => {
    const registry = open(server.endpoint, { username: "flannel", password: "pass:wörd" });
    expect(await failure(registry.getConfig("", options))).toBeInstanceOf(ConfigNotFoundError);
    expect(await works(registry)).toBe(true);
  });

  test.each([
    ["the wrong password", { username: "flannel", password: "wrong" }],
    ["no user", {}],
    ["a user who does not exist", { username: "ghost", password: "wrong" }],
    ["a user without permission", { username: "nobody", password: "nothing" }],
  ])("is refused with %s, and told what to check", async (_what, flags) => {
    expect(await refusals(open(server.endpoint, flags))).toMatch(/check --etcd-username and --etcd-password/);
  });
});
