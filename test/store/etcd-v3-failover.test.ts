import { cpSync, rmSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { StoreRefusedError, StoreUnavailableError } from "../../src/lease/errors.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { RecordingLogger } from "../../src/lib/recording-logger.ts";
import { parseEtcdOptions } from "../../src/store/etcd/options.ts";
import { EtcdV3Registry } from "../../src/store/etcd-v3/etcd-v3-registry.ts";
import { ceiling } from "../e2e/hosts.ts";
import { EtcdServer } from "../support/etcd.ts";
import { freePort } from "../support/free-port.ts";
import { within } from "../support/within.ts";
import { GrpcProxy, type Tampering } from "./grpc-proxy.ts";

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
async function open(...endpoints: string[]): Promise<EtcdV3Registry> {
  prefix = `/failover/${++tests}`;
  await connect(etcd.endpoint).setConfig("", config, options);
  return connect(...endpoints);
}

function connect(...endpoints: string[]): EtcdV3Registry {
  const parsed = parseEtcdOptions({ endpoints: endpoints.join(","), prefix });
  return cleanup.use(new EtcdV3Registry(parsed, { clock: systemClock, logger }));
}

async function broken(tampering: Tampering): Promise<GrpcProxy> {
  const proxy = cleanup.use(await GrpcProxy.start(etcd.endpoint));
  proxy.tamper = () => tampering;
  return proxy;
}

const failure = (work: Promise<unknown>) =>
  work.then(
    () => expect.unreachable("it succeeded"),
    (error: Error) => error,
  );
const firstBatch = (registry: EtcdV3Registry, cursor: { history: string; index: bigint }) =>
  registry.watchLeases("", cursor, options)[Symbol.asyncIterator]().next();
const grpc = { "content-type": "application/grpc" };

describe("EtcdV3Registry with an endpoint that", () => {
  const cases: readonly (readonly [what: string, Tampering, reason: RegExp])[] = [
    [
      "answers 200 with HTML",
      { headers: { "content-type": "text/html" }, body: "<html>Log in</html>" },
      /not gRPC but HTTP status 200 with text\/html/,
    ],
    ["answers 404", { status: 404, headers: { "content-type": "text/html" } }, /HTTP status 404/],
    ["breaks off within a message", { headers: grpc, body: Uint8Array.of(0, 0, 0, 0, 9, 1) }, /cut off/],
    [
      "sends a message longer than any",
      { headers: grpc, body: Uint8Array.of(0, 255, 0, 0, 0, 1) },
      /a message of \d+ bytes/,
    ],
    [
      "sends what is no message",
      { headers: { ...grpc, "grpc-status": "0" }, body: Uint8Array.of(0, 0, 0, 0, 2, 255, 255) },
      /./,
    ],
    [
      "has no leader",
      { headers: { ...grpc, "grpc-status": "14", "grpc-message": "etcdserver: no leader" } },
      /no leader/,
    ],
    ["resets the connection", "reset", /cut off|closed|reset/i],
    ["never answers", "hold", /no answer within 5 s/],
  ];

  test.each(cases)("%s is told of, and passed over for the next one", async (_what, tampering, reason) => {
    const proxy = await broken(tampering);
    const registry = await open(proxy.endpoint, etcd.endpoint);
    expect((await registry.getConfig("", options)).text).toBe(config);
    const { calls } = proxy;
    expect(calls).toHaveLength(1);
    const lease = await registry.createLease("", claim(1), options);
    const { leases, cursor } = await registry.listLeases("", options);
    expect(leases).toHaveLength(1);
    expect((await firstBatch(registry, cursor)).done).toBe(false);
    await registry.deleteLease("", lease, options);
    expect(calls).toHaveLength(1); // remembered as bad

    const error = await failure(connect(proxy.endpoint).getConfig("", options));
    expect(error).toBeInstanceOf(StoreUnavailableError);
    expect(error.message).toContain(`${proxy.endpoint}: read ${prefix}/config: `);
    expect(error.message).toMatch(reason);
    const write = await failure(connect(proxy.endpoint).createLease("", claim(2), options));
    expect(write).toBeInstanceOf(StoreUnavailableError);
    expect(calls.filter((path) => !path.endsWith("/Range"))).toEqual([]); // nothing is written where nothing could be read
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
    const html = await broken({ headers: { "content-type": "text/html" }, body: "<html>" });
    const error = await failure((await open(dead, html.endpoint)).getConfig("", options));
    expect(error.message).toMatch(/ECONNREFUSED.*; http:\/\/127\.0\.0\.1:\d+: .*HTTP status 200/);
  });

  test("is frozen during a watch is left within 15 s", async () => {
    prefix = "/frozen";
    const frozen = cleanup.use(await EtcdServer.start());
    const registry = connect(frozen.endpoint);
    const { cursor } = await registry.listLeases("", options);
    const watch = registry.watchLeases("", cursor, options)[Symbol.asyncIterator]();
    await watch.next();
    frozen.freeze();
    const error = await within(15_000, "it is left", failure(watch.next()));
    expect(error).toBeInstanceOf(StoreUnavailableError);
    expect(error.message).toContain("silent for 12 s");
  });
});

describe("EtcdV3Registry with an endpoint of another history", () => {
  test("refuses another cluster by name, once, and neither reads nor writes there", async () => {
    const gate = await broken("pass");
    const foreign = cleanup.use(await EtcdServer.start({ token: "another" }));
    const registry = await open(gate.endpoint, foreign.endpoint);
    const { cursor } = await registry.listLeases("", options);
    gate.tamper = () => "reset";
    for (const work of [
      () => registry.getConfig("", options),
      () => registry.createLease("", claim(1), options),
      () => firstBatch(registry, cursor),
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
    expect(await foreign.ctl("get", "--prefix", "/")).toBe("");
  });

  test("passes over a member with an older state", async () => {
    const older = cleanup.use(await EtcdServer.start());
    await open(etcd.endpoint);
    await older.kill();
    await etcd.stop();
    rmSync(older.dataDirectory, { recursive: true });
    cpSync(etcd.dataDirectory, older.dataDirectory, { recursive: true });
    await etcd.start();
    await older.start();
    const proxy = await broken("pass");
    const registry = connect(proxy.endpoint, older.endpoint);
    const lease = await registry.createLease("", claim(1), options);
    proxy.tamper = () => "reset";
    const error = await failure(registry.getLease("", claim(1).subnet, options));
    expect(error).toBeInstanceOf(StoreUnavailableError);
    expect(error.message).toMatch(/tells an older state \(index \d+\)/);
    proxy.tamper = () => "pass";
    expect((await registry.getLease("", claim(1).subnet, options))?.revision).toBe(lease.revision);
  });
});

test("EtcdV3Registry tells of a full database what helps, and can still read", async () => {
  const full = cleanup.use(await EtcdServer.start({ args: ["--quota-backend-bytes=100000"] }));
  prefix = "/full";
  const registry = connect(full.endpoint);
  await registry.setConfig("", config, options);
  const fill = async () => {
    for (let number = 0; number < 100; number++) await full.ctl("put", `/fill/${number}`, "x".repeat(10_000));
  };
  await expect(fill()).rejects.toThrow(/database space exceeded/);
  const error = await failure(registry.createLease("", claim(1), options));
  expect(error).toBeInstanceOf(StoreRefusedError);
  expect(error.message).toMatch(/database space exceeded \(compact and defragment.*alarm disarm/);
  expect((await registry.getConfig("", options)).text).toBe(config);
});

test("EtcdV3Registry leaves a member that has lost its leader, in a watch and in a call, and comes back", async () => {
  const peers = { a: await ports(), b: await ports() };
  const cluster = Object.entries(peers).map(([name, { peer }]) => `${name}=http://127.0.0.1:${peer}`);
  const member = (name: "a" | "b") =>
    EtcdServer.start({
      ports: peers[name],
      args: [`--name=${name}`, `--initial-cluster=${cluster.join(",")}`],
    });
  const [a, b] = await Promise.all([member("a"), member("b")]);
  cleanup.use(a);
  cleanup.use(b);
  prefix = "/leader";
  const registry = connect(a.endpoint);
  const { cursor } = await registry.listLeases("", options);
  const watch = registry.watchLeases("", cursor, options)[Symbol.asyncIterator]();
  await watch.next();
  await b.kill();
  expect((await within(10_000, "it is left", failure(watch.next()))).message).toContain("no leader");
  expect(await failure(registry.getConfig("", options))).toBeInstanceOf(StoreUnavailableError);
  await b.start();
  await expect
    .poll(() =>
      registry.listLeases("", options).then(
        () => true,
        () => false,
      ),
    )
    .toBe(true);
  expect((await firstBatch(registry, cursor)).done).toBe(false);
});

async function ports() {
  return { client: await freePort(), peer: await freePort() };
}
