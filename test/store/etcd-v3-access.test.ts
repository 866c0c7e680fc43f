import { once } from "node:events";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { ConfigNotFoundError, StoreRefusedError, StoreUnavailableError } from "../../src/lease/errors.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { describeError } from "../../src/lib/errors.ts";
import { RecordingLogger } from "../../src/lib/recording-logger.ts";
import { type EtcdFlags, parseEtcdOptions } from "../../src/store/etcd/options.ts";
import { EtcdV3Registry } from "../../src/store/etcd-v3/etcd-v3-registry.ts";
import { type Certificates, makeCertificates } from "../support/certificates.ts";
import { EtcdServer } from "../support/etcd.ts";

const { signal } = new AbortController();
const options = { signal };
const claim = {
  subnet: parsePrefix("10.5.34.0/24"),
  attributes: { publicIP: parseAddress("192.0.2.1") },
  isReservation: false,
};
const logger = new RecordingLogger();
let cleanup = new AsyncDisposableStack();

afterEach(async () => {
  await cleanup.disposeAsync();
  cleanup = new AsyncDisposableStack();
  logger.clear();
});

function open(endpoints: string, flags: Partial<EtcdFlags> = {}): EtcdV3Registry {
  const parsed = parseEtcdOptions({ endpoints, prefix: "/access", ...flags });
  return cleanup.use(new EtcdV3Registry(parsed, { clock: systemClock, logger }));
}

/** Everything that takes a way of its own to the server. */
async function works(registry: EtcdV3Registry): Promise<true> {
  const { cursor } = await registry.listLeases("", options);
  const lease = await registry.createLease("", claim, options);
  for await (const { events } of registry.watchLeases("", cursor, options)) if (events.length > 0) break;
  await registry.deleteLease("", await registry.updateLease("", lease, claim, options), options);
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
async function refusals(registry: EtcdV3Registry): Promise<string> {
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

describe("EtcdV3Registry by TLS", () => {
  let directory: string;
  let ours: Certificates;
  let others: Certificates;
  let server: EtcdServer;
  let strict: EtcdServer;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), "flannel-tls-"));
    ours = makeCertificates(directory, "ours");
    others = makeCertificates(directory, "others");
    server = await EtcdServer.start({ v2: false, tls: ours.server });
    strict = await EtcdServer.start({ v2: false, tls: { ...ours.server, clientCa: ours.ca } });
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

  test("works by name as well as by address", async () => {
    const byName = server.endpoint.replace("127.0.0.1", "localhost");
    expect(await works(open(byName, { caFile: ours.ca }))).toBe(true);
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
    const rude = createServer((socket) => socket.once("data", () => socket.resetAndDestroy())).listen(0, "127.0.0.1");
    cleanup.defer(() => void rude.close());
    await once(rude, "listening");
    const { port } = rude.address() as AddressInfo;
    for (const endpoint of [
      plain.endpoint.replace("http:", "https:"),
      server.endpoint.replace("https:", "http:"),
      `https://127.0.0.1:${port}`,
      `http://127.0.0.1:${port}`,
    ]) {
      const error = await failure(open(endpoint, { caFile: ours.ca }).getConfig("", options));
      expect(error).toBeInstanceOf(StoreUnavailableError);
      expect(error.message).toContain("TLS");
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
  });

  test("uses files that were changed meanwhile, without ending the watch that stands", async () => {
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
    const { cursor } = await registry.listLeases("", options);
    const watch = registry.watchLeases("", cursor, options)[Symbol.asyncIterator]();
    await watch.next();
    install(others);
    expect(await refusals(registry)).toMatch(/certificate/);
    await open(strict.endpoint, withCertificate(ours, ours.ca)).createLease("", claim, options);
    expect((await watch.next()).value?.events).toHaveLength(1);
  });

  test("goes on to an endpoint that takes it", async () => {
    const registry = open(`${strict.endpoint},${server.endpoint}`, { caFile: ours.ca });
    expect(await works(registry)).toBe(true);
  });
});

describe("EtcdV3Registry with a password", () => {
  let server: EtcdServer;
  const root = "--user=root:secret";

  beforeAll(async () => {
    server = await EtcdServer.start({ args: ["--auth-token-ttl=2"] });
    await server.ctl("user", "add", "root:secret");
    await server.ctl("user", "grant-role", "root", "root");
    await server.ctl("role", "add", "flannel");
    await server.ctl("role", "grant-permission", "flannel", "--prefix=true", "readwrite", "/access/");
    await server.ctl("role", "add", "none");
    await server.ctl("user", "add", "flannel:pass:wörd");
    await server.ctl("user", "grant-role", "flannel", "flannel");
    await server.ctl("user", "add", "nobody:nothing");
    await server.ctl("user", "grant-role", "nobody", "none");
    await server.ctl("auth", "enable");
  });
  afterAll(() => server[Symbol.asyncDispose]());

  const flannel = { username: "flannel", password: "pass:wörd" };

  test("works, with no more than permission for the prefix", async () => {
    const registry = open(server.endpoint, flannel);
    expect(await failure(registry.getConfig("", options))).toBeInstanceOf(ConfigNotFoundError);
    expect(await works(registry)).toBe(true);
  });

  test.each([
    ["the wrong password", { username: "flannel", password: "wrong" }, /check --etcd-username and --etcd-password/],
    ["no user", {}, /check --etcd-username and --etcd-password/],
    ["a user who does not exist", { username: "ghost", password: "x" }, /check --etcd-username and --etcd-password/],
    ["a user without permission", { username: "nobody", password: "nothing" }, /permission denied.*role/],
  ])("is refused with %s, and told what to check", async (_what, flags, reason) => {
    expect(await refusals(open(server.endpoint, flags))).toMatch(reason);
  });

  test("fetches a new token when etcd no longer takes the former one", async () => {
    const registry = open(server.endpoint, flannel);
    expect(await works(registry)).toBe(true);
    await new Promise((resolve) => setTimeout(resolve, 3_500)); // the token's time, which etcd looks at every second
    expect(await works(registry)).toBe(true);
    await server.ctl(root, "user", "add", "another:one"); // makes every token old
    expect(await works(registry)).toBe(true);
    await server.restart();
    expect(await works(registry)).toBe(true);
  });

  test("uses it once authentication is switched on", async () => {
    const late = cleanup.use(await EtcdServer.start());
    const registry = open(late.endpoint, { username: "root", password: "secret" });
    expect(await works(registry)).toBe(true);
    expect(logger.messages("info")).toContain("etcd has authentication switched off: user and password are not used");
    await late.ctl("user", "add", "root:secret");
    await late.ctl("user", "grant-role", "root", "root");
    await late.ctl("auth", "enable");
    expect(await works(registry)).toBe(true);
  });
});
