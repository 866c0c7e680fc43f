import { cpSync, rmSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { HistoryLostError, StoreRefusedError, StoreUnavailableError } from "../../src/lease/errors.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { RecordingLogger } from "../../src/lib/recording-logger.ts";
import { parseEtcdOptions } from "../../src/store/etcd/options.ts";
import { EtcdV2Registry } from "../../src/store/etcd-v2/etcd-v2-registry.ts";
import { EtcdV2DisabledError } from "../../src/store/etcd-v2/keys-api.ts";
import { ceiling } from "../e2e/hosts.ts";
import { EtcdServer } from "../support/etcd.ts";
import { freePort } from "../support/free-port.ts";
import { within } from "../support/within.ts";
import { type Tampering, TamperingProxy } from "./tampering-proxy.ts";

const { signal } = new AbortController();
const options = { signal };
const config = '{"Network":"10.5.0.0/16"}';
const claim = (number: number) => ({
  subnet: parsePrefix(`10.5.${number}.0/24`),
  attributes: { publicIP: parseAddress("192.0.2.1") },
  isReservation: false,
});
const logger = new RecordingLogger();

let etcd: EtcdServer;
let prefix: string;
let cleanup = new AsyncDisposableStack();
let tests = 0;

beforeAll(async () => {
  etcd = await EtcdServer.start();
});
afterAll(() => etcd[Symbol.asyncDispose]());
afterEach(async () => {
  await cleanup.disposeAsync();
  cleanup = new AsyncDisposableStack();
  logger.clear();
});

/** A registry that asks these endpoints in this order; the first one of a test makes a new prefix with a config. */
async function open(...endpoints: string[]): Promise<EtcdV2Registry> {
  prefix = `/failover/${++tests}`;
  const direct = connect(etcd.endpoint);
  await direct.setConfig("", config, options);
  return connect(...endpoints);
}

function connect(...endpoints: string[]): EtcdV2Registry {
  const parsed = parseEtcdOptions({ endpoints: endpoints.join(","), prefix });
  return cleanup.use(new EtcdV2Registry(parsed, { clock: systemClock, logger }));
}

async function broken(tampering: Tampering): Promise<TamperingProxy> {
  const proxy = cleanup.use(await TamperingProxy.start(etcd.endpoint));
  proxy.tamper = () => tampering;
  return proxy;
}

const failure = (work: Promise<unknown>) =>
  work.then(
    () => expect.unreachable("it succeeded"),
    (error: Error) => error,
  );
const json = { "Content-Type": "application/json" };
const node = '{"action":"get","node":{"key":"/a","value":"1","modifiedIndex":3}}';
const etcdHeaders = { ...json, "X-Etcd-Cluster-Id": "1234", "X-Etcd-Index": "7" };

describe("EtcdV2Registry with an endpoint that", () => {
  const cases: readonly (readonly [what: string, Tampering, reason: RegExp])[] = [
    [
      "answers 200 with HTML",
      { headers: { "Content-Type": "text/html" }, body: "<html>Log in</html>" },
      /answered 200 with what is not etcd's JSON \(text\/html\): "<html>Log in/,
    ],
    [
      "answers 502 with HTML",
      { status: 502, headers: { "Content-Type": "text/html" }, body: "<h1>Bad Gateway" },
      /answered 502 .*Bad Gateway/,
    ],
    [
      "breaks off within the JSON",
      { headers: etcdHeaders, body: '{"action":"get","node":{"ke', cutOff: true },
      /aborted|closed|hang up/,
    ],
    [
      "sends JSON that ends early",
      { headers: etcdHeaders, body: '{"action":"get","node":{"ke' },
      /not etcd's JSON .*action/,
    ],
    ["sends other JSON", { headers: etcdHeaders, body: '{"status":"ok"}' }, /not etcd's JSON .*status/],
    [
      "sends JSON as text",
      {
        headers: { ...etcdHeaders, "Content-Type": "text/plain" },
        body: node,
      },
      /not etcd's JSON \(text\/plain\)/,
    ],
    ["leaves out etcd's headers", { headers: json, body: node }, /without X-Etcd-Cluster-Id/],
    [
      "redirects",
      { status: 302, headers: { ...etcdHeaders, Location: "http://192.0.2.9/login" }, body: node },
      /redirects \(302\) to http:\/\/192\.0\.2\.9\/login/,
    ],
    [
      "has no leader",
      {
        status: 500,
        headers: etcdHeaders,
        body: '{"errorCode":300,"message":"Raft Internal Error","cause":"etcdserver: no leader","index":7}',
      },
      /etcd error 300: Raft Internal Error \(etcdserver: no leader\)/,
    ],
    ["resets the connection", "reset", /hang up|ECONNRESET/],
    ["never answers", "hold", /no answer within 5 s/],
  ];

  test.each(cases)("%s is told of, and passed over for the next one", async (_what, tampering, reason) => {
    const proxy = await broken(tampering);
    const registry = await open(proxy.endpoint, etcd.endpoint);
    expect((await registry.getConfig("", options)).text).toBe(config);
    const { requests } = proxy;
    expect(requests).toHaveLength(1);
    const lease = await registry.createLease("", claim(1), options);
    const { leases, cursor } = await registry.listLeases("", options);
    expect(leases).toHaveLength(1);
    for await (const _batch of registry.watchLeases("", cursor, options)) break;
    await registry.deleteLease("", lease, options);
    expect(requests).toHaveLength(1); // remembered as bad

    const error = await failure(connect(proxy.endpoint).getConfig("", options));
    expect(error).toBeInstanceOf(StoreUnavailableError);
    expect(error.message).toContain(`${proxy.endpoint}: `);
    expect(error.message).toMatch(reason);
    const write = await failure(connect(proxy.endpoint).createLease("", claim(2), options));
    expect(write).toBeInstanceOf(StoreUnavailableError);
    expect(requests.filter(({ method }) => method !== "GET")).toEqual([]); // nothing is written where nothing could be read
  });

  test("refuses connections is passed over for the next one", async () => {
    const dead = `http://127.0.0.1:${await freePort()}`;
    const registry = await open(dead, etcd.endpoint);
    expect((await registry.getConfig("", options)).text).toBe(config);
    const error = await failure(connect(dead).getConfig("", options));
    expect(error).toBeInstanceOf(StoreUnavailableError);
    expect(error.message).toMatch(/127\.0\.0\.1:\d+: .*ECONNREFUSED/);
  });

  test("does not accept connections is passed over after 1 s", async () => {
    const registry = await open("http://192.0.2.254:2379", etcd.endpoint);
    const soon = ceiling(1_000) + 1_000; // and the answer of the next one
    expect((await within(soon, "the next one is asked", registry.getConfig("", options))).text).toBe(config);
  });

  test("has failed for a reason of its own is named with the others", async () => {
    const dead = `http://127.0.0.1:${await freePort()}`;
    const html = await broken({ headers: { "Content-Type": "text/html" }, body: "<html>" });
    const error = await failure((await open(dead, html.endpoint)).getConfig("", options));
    expect(error.message).toMatch(/ECONNREFUSED.*; http:\/\/127\.0\.0\.1:\d+: answered 200/);
  });

  test("does not serve the v2 API is told from one that is no etcd", async () => {
    const v3only = cleanup.use(await EtcdServer.start({ v2: false }));
    const error = await failure((await open(v3only.endpoint)).getConfig("", options));
    expect(error).toBeInstanceOf(EtcdV2DisabledError);
    expect(error).toBeInstanceOf(StoreRefusedError);
    expect(error.message).toContain("--enable-v2");
    const stranger = await broken({
      status: 404,
      headers: { "Content-Type": "text/html" },
      body: "<h1>Not Found</h1>",
    });
    expect(await failure(connect(stranger.endpoint).getConfig("", options))).toBeInstanceOf(StoreUnavailableError);
  });
});

describe("EtcdV2Registry with an endpoint of another history", () => {
  test("refuses another cluster by name, once, and neither reads nor writes there", async () => {
    const gate = await broken("pass");
    const foreign = cleanup.use(await EtcdServer.start({ token: "another" }));
    const registry = await open(gate.endpoint, foreign.endpoint);
    const { cursor } = await registry.listLeases("", options);
    gate.tamper = () => "reset";
    for (const work of [
      () => registry.getConfig("", options),
      () => registry.createLease("", claim(1), options),
      () => registry.watchLeases("", cursor, options)[Symbol.asyncIterator]().next(),
    ]) {
      const error = await failure(work());
      expect(error).toBeInstanceOf(StoreUnavailableError);
      expect(error.message).toContain(`${foreign.endpoint}: belongs to another etcd cluster`);
    }
    expect(logger.lines.filter(({ level }) => level === "warn")).toMatchObject([
      { fields: { endpoint: foreign.endpoint } },
    ]);
    gate.tamper = () => "pass";
    expect((await registry.getConfig("", options)).text).toBe(config);
    expect(await foreign.ctl2("ls", "--recursive", "/")).toBe("");
  });

  test("passes over a member with an older state", async () => {
    const gate = await broken("pass");
    const older = cleanup.use(await EtcdServer.start());
    const registry = await open(gate.endpoint, older.endpoint);
    await older.kill();
    await etcd.stop();
    rmSync(older.dataDirectory, { recursive: true });
    cpSync(etcd.dataDirectory, older.dataDirectory, { recursive: true });
    await etcd.start();
    await older.start();
    const lease = await registry.createLease("", claim(1), options);
    gate.tamper = () => "reset";
    const error = await failure(registry.getLease("", claim(1).subnet, options));
    expect(error).toBeInstanceOf(StoreUnavailableError);
    expect(error.message).toMatch(/tells an older state \(index \d+\)/);
    const cursor = {
      history: (await connect(etcd.endpoint).listLeases("", options)).cursor.history,
      index: lease.revision,
    };
    expect(await failure(registry.watchLeases("", cursor, options)[Symbol.asyncIterator]().next())).toBeInstanceOf(
      StoreUnavailableError,
    );
    gate.tamper = () => "pass";
    expect((await registry.getLease("", claim(1).subnet, options))?.revision).toBe(lease.revision);
  });

  test("believes an older state when every endpoint tells it", async () => {
    const registry = await open(etcd.endpoint);
    const copy = etcd.path("older");
    await etcd.stop();
    cpSync(etcd.dataDirectory, copy, { recursive: true });
    await etcd.start();
    await registry.createLease("", claim(1), options);
    const { cursor } = await registry.listLeases("", options);
    await etcd.kill();
    rmSync(etcd.dataDirectory, { recursive: true });
    cpSync(copy, etcd.dataDirectory, { recursive: true });
    await etcd.start();
    expect((await registry.listLeases("", options)).leases).toEqual([]);
    expect(await failure(registry.watchLeases("", cursor, options)[Symbol.asyncIterator]().next())).toBeInstanceOf(
      HistoryLostError,
    );
    expect(logger.lines.filter(({ level }) => level === "warn")).toHaveLength(1);
  });
});
