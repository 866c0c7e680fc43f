import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { ConfigNotFoundError, StoreRefusedError } from "../../src/lease/errors.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { InvalidConfigError } from "../../src/lib/errors.ts";
import { RecordingLogger } from "../../src/lib/recording-logger.ts";
import { parseEtcdOptions } from "../../src/store/etcd/options.ts";
import { gatewayShowsNoConfig } from "../../src/store/etcd-probe.ts";
import { EtcdV2Registry } from "../../src/store/etcd-v2/etcd-v2-registry.ts";
import { EtcdV3Registry } from "../../src/store/etcd-v3/etcd-v3-registry.ts";
import { type OpenEtcdOptions, openEtcdRegistry } from "../../src/store/open-etcd.ts";
import type { Registry } from "../../src/store/registry.ts";
import { EtcdServer } from "../support/etcd.ts";
import { freePort } from "../support/free-port.ts";

const CONFIG = '{"Network":"10.5.0.0/16"}';
const CLAIM = {
  subnet: parsePrefix("10.5.1.0/24"),
  attributes: { publicIP: parseAddress("192.0.2.1") },
  isReservation: false,
};

let server: EtcdServer;
beforeAll(async () => {
  server = await EtcdServer.start();
});
afterAll(() => server[Symbol.asyncDispose]());

interface Bench {
  readonly v2: Registry;
  readonly v3: Registry;
  readonly logger: RecordingLogger;
  readonly stateDir: string;
  readonly signal: AbortSignal;
  readonly open: (open?: Partial<OpenEtcdOptions>, endpoints?: string) => Promise<Registry>;
}

let prefixes = 0;

/** Gives each test a prefix and a state directory of its own; the server is shared. */
function bench(body: (bench: Bench) => Promise<void>): () => Promise<void> {
  return async () => {
    const prefix = `/choice-${prefixes++}`;
    const logger = new RecordingLogger();
    await using cleanup = new AsyncDisposableStack();
    const stateDir = mkdtempSync(join(tmpdir(), "etcd-api-"));
    cleanup.defer(() => rmSync(stateDir, { recursive: true }));
    const ending = new AbortController();
    cleanup.defer(() => ending.abort(new Error("the test is over")));
    const deps = { clock: systemClock, logger };
    const { signal } = ending;
    const to = (endpoints: string) => parseEtcdOptions({ endpoints, prefix });
    await body({
      v2: cleanup.use(new EtcdV2Registry(to(server.endpoint), deps)),
      v3: cleanup.use(new EtcdV3Registry(to(server.endpoint), deps)),
      logger,
      stateDir,
      signal,
      open: async (open = {}, endpoints = server.endpoint) =>
        cleanup.use(await openEtcdRegistry(to(endpoints), { ...deps, stateDir, signal, ...open })),
    });
  };
}

function api(registry: Registry): string {
  return registry.name.slice(0, "etcd vN".length);
}

function remembered(stateDir: string): unknown {
  return JSON.parse(readFileSync(join(stateDir, "etcd-api.json"), "utf8"));
}

test(
  "openEtcdRegistry() takes the API that holds the config, and remembers it by cluster and prefix",
  bench(async ({ v2, open, stateDir, signal }) => {
    await v2.setConfig("", CONFIG, { signal });
    expect(api(await open())).toBe("etcd v2");
    const { cursor } = await v2.listLeases("", { signal });
    const choice = { cluster: cursor.history, prefix: expect.stringMatching(/^\/choice-/), api: 2 };
    expect(remembered(stateDir)).toEqual({ choices: [choice] });
    expect(statSync(join(stateDir, "etcd-api.json")).mode & 0o777).toBe(0o600);
    expect(readdirSync(stateDir)).toEqual(["etcd-api.json"]);
  }),
);

test(
  "openEtcdRegistry() takes v3 if that holds the config, on a server without the v2 API too",
  bench(async ({ open, signal }) => {
    await using plain = await EtcdServer.start({ v2: false });
    const registry = await open({}, plain.endpoint);
    await registry.setConfig("", CONFIG, { signal });
    expect(api(await open({ stateDir: undefined }, plain.endpoint))).toBe("etcd v3");
  }),
);

test(
  "openEtcdRegistry() counts the config of any network it is told of, and of no other",
  bench(async ({ v2, v3, open, signal }) => {
    await v2.setConfig("blue", CONFIG, { signal });
    await v3.setConfig("", CONFIG, { signal });
    expect(api(await open({ networks: ["red", "blue"], stateDir: undefined }))).toBe("etcd v2");
    expect(api(await open({ stateDir: undefined }))).toBe("etcd v3");
  }),
);

test(
  "openEtcdRegistry() takes of two with a config the one with leases, and refuses if both have some",
  bench(async ({ v2, v3, open, signal }) => {
    for (const registry of [v2, v3]) await registry.setConfig("", CONFIG, { signal });
    expect(api(await open({ stateDir: undefined }))).toBe("etcd v3");
    await v2.createLease("", CLAIM, { signal });
    expect(api(await open({ stateDir: undefined }))).toBe("etcd v2");
    await v3.createLease("", CLAIM, { signal });
    const refusal = open({ stateDir: undefined });
    await expect(refusal).rejects.toThrow(InvalidConfigError);
    await expect(refusal).rejects.toThrow(/--etcd-api=2 or --etcd-api=3/);
    expect(api(await open({ api: 2 }))).toBe("etcd v2");
    expect(api(await open({ api: 3 }))).toBe("etcd v3");
  }),
);

test(
  "openEtcdRegistry() assumes v3 where there is no config, says so, remembers nothing, and takes v2 if the config appears there",
  bench(async ({ v2, v3, open, logger, stateDir, signal }) => {
    const registry = await open();
    expect(api(registry)).toBe("etcd v3");
    expect(logger.lines.filter(({ message }) => message.includes("v3 is assumed"))).toHaveLength(1);
    await expect(registry.getConfig("", { signal })).rejects.toThrow(ConfigNotFoundError);
    expect((await registry.listLeases("", { signal })).leases).toEqual([]);
    expect(readdirSync(stateDir)).toEqual([]);
    await v2.setConfig("", CONFIG, { signal });
    expect((await registry.getConfig("", { signal })).text).toBe(CONFIG);
    expect(api(registry)).toBe("etcd v2");
    expect(registry.leaseFormat).toBe("0.7");
    expect(remembered(stateDir)).toMatchObject({ choices: [{ api: 2 }] });
    const other = '{"Network":"10.6.0.0/16"}';
    await v3.setConfig("", other, { signal });
    expect((await registry.getConfig("", { signal })).text).toBe(CONFIG);
    const lease = await registry.createLease("", CLAIM, { signal });
    expect((await v2.getLease("", CLAIM.subnet, { signal }))?.revision).toBe(lease.revision);
  }),
);

test(
  "openEtcdRegistry() keeps to v3 once a config was written through it where there was none",
  bench(async ({ v2, v3, open, stateDir, signal }) => {
    const registry = await open();
    await registry.setConfig("", CONFIG, { signal });
    expect((await v3.getConfig("", { signal })).text).toBe(CONFIG);
    expect(remembered(stateDir)).toMatchObject({ choices: [{ api: 3 }] });
    await v2.setConfig("", CONFIG, { signal });
    await v2.createLease("", CLAIM, { signal });
    expect(api(await open())).toBe("etcd v3");
  }),
);

test(
  "openEtcdRegistry() goes by what it remembers, unless the cluster is another or forgets the API",
  bench(async ({ v2, v3, open, stateDir, logger, signal }) => {
    await v2.setConfig("", CONFIG, { signal });
    await open();
    const choice = readFileSync(join(stateDir, "etcd-api.json"), "utf8");
    await v3.setConfig("", CONFIG, { signal });
    await v3.createLease("", CLAIM, { signal });
    expect(api(await open())).toBe("etcd v2");
    expect(readFileSync(join(stateDir, "etcd-api.json"), "utf8")).toBe(choice);
    writeFileSync(join(stateDir, "etcd-api.json"), choice.replace(/"cluster": "\w+"/, '"cluster": "abc"'));
    expect(api(await open())).toBe("etcd v3");
    expect(remembered(stateDir)).toMatchObject({ choices: [{ cluster: "abc", api: 2 }, { api: 3 }] });
    expect(logger.messages("warn")).toEqual([]);
    writeFileSync(join(stateDir, "etcd-api.json"), '{"choices": [{"clus');
    expect(api(await open())).toBe("etcd v3");
    expect(logger.messages("warn")).toHaveLength(1);
    expect(remembered(stateDir)).toMatchObject({ choices: [{ api: 3 }] });
  }),
);

test(
  "openEtcdRegistry() asks both again if the remembered API holds no config any more, as after a migration or a new cluster with the old id",
  bench(async ({ v2, open, stateDir, logger, signal }) => {
    await v2.setConfig("", CONFIG, { signal });
    expect(api(await open())).toBe("etcd v2");
    const text = readFileSync(join(stateDir, "etcd-api.json"), "utf8");
    writeFileSync(join(stateDir, "etcd-api.json"), text.replace('"api": 2', '"api": 3'));
    expect(api(await open())).toBe("etcd v2");
    expect(logger.messages("warn")).toEqual(["etcd's remembered API holds no config any more: asking both"]);
    expect(remembered(stateDir)).toMatchObject({ choices: [{ api: 2 }] });
  }),
);

test(
  "openEtcdRegistry() takes no time-out for an answer, says once that it waits, and goes on when etcd is back",
  bench(async ({ open, logger, signal }) => {
    await using plain = await EtcdServer.start();
    await (await open({ api: 2 }, plain.endpoint)).setConfig("", CONFIG, { signal });
    await plain.stop();
    const opening = open({}, plain.endpoint);
    await expect.poll(() => logger.messages("warn").length).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 500));
    await plain.start();
    expect(api(await opening)).toBe("etcd v2");
    expect(logger.lines.filter(({ message }) => message.includes("has not answered"))).toHaveLength(1);
  }),
);

test(
  "openEtcdRegistry() ends when it is aborted while it waits",
  bench(async ({ open }) => {
    const controller = new AbortController();
    const opening = open({ signal: controller.signal }, `http://127.0.0.1:${await freePort()}`);
    const reason = new Error("stop");
    setTimeout(() => controller.abort(reason), 100);
    await expect(opening).rejects.toBe(reason);
  }),
);

test(
  "openEtcdRegistry() takes v2 on etcd 2, which never answers to the v3 API",
  bench(async ({ open }) => {
    await using etcd2 = createServer((request, response) => {
      const headers = { "X-Etcd-Cluster-Id": "cdf818194e3a8c32", "X-Etcd-Index": "7" };
      if (request.url === "/version")
        response.setHeader("Content-Type", "application/json").end('{"etcdserver":"2.3.8","etcdcluster":"2.3.0"}');
      else if (request.url?.includes("/config?") === true)
        response
          .writeHead(200, { ...headers, "Content-Type": "application/json" })
          .end(`{"action":"get","node":{"key":"/x/config","value":"{}","modifiedIndex":7,"createdIndex":7}}`);
      else
        response
          .writeHead(404, { ...headers, "Content-Type": "application/json" })
          .end('{"errorCode":100,"message":"Key not found","cause":"/x","index":7}');
    });
    await new Promise<void>((resolve) => etcd2.listen(0, "127.0.0.1", resolve));
    const address = etcd2.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    expect(api(await open({}, `http://127.0.0.1:${address.port}`))).toBe("etcd v2");
    etcd2.closeAllConnections();
  }),
);

test(
  "openEtcdRegistry() throws StoreRefusedError naming the API that refuses",
  bench(async ({ signal }) => {
    await using guarded = await EtcdServer.start();
    await guarded.ctl("user", "add", "root:right");
    await guarded.ctl("user", "grant-role", "root", "root");
    await guarded.ctl("auth", "enable");
    const options = parseEtcdOptions({
      endpoints: guarded.endpoint,
      prefix: "/x",
      username: "root",
      password: "wrong",
    });
    const opening = openEtcdRegistry(options, { clock: systemClock, logger: new RecordingLogger(), signal });
    await expect(opening).rejects.toThrow(StoreRefusedError);
    await expect(opening).rejects.toThrow(/--etcd-password.*v3 API/);
  }),
);

test("gatewayShowsNoConfig() is true only if etcd itself says that none of the networks has one", async () => {
  const { signal } = new AbortController();
  const ask = (endpoints: string, networks: readonly string[], more = {}) =>
    gatewayShowsNoConfig(parseEtcdOptions({ endpoints, prefix: "/gateway", ...more }), networks, systemClock, {
      signal,
    });
  await using v3 = new EtcdV3Registry(parseEtcdOptions({ endpoints: server.endpoint, prefix: "/gateway" }), {
    clock: systemClock,
    logger: new RecordingLogger(),
  });
  expect(await ask(server.endpoint, ["", "blue"])).toBe(true);
  await v3.setConfig("blue", CONFIG, { signal });
  expect(await ask(server.endpoint, [""])).toBe(true);
  expect(await ask(server.endpoint, ["", "blue"])).toBe(false);
  expect(await ask(server.endpoint, [""], { username: "root", password: "x" })).toBe(false);
  expect(await ask(`http://127.0.0.1:${await freePort()}`, [""])).toBe(false);
  for (const answer of ["{}", "<html>", '{"header":{"cluster_id":"1","revision":"2"},"count":"1"}']) {
    await using stranger = createServer((_, response) => response.end(answer));
    await new Promise<void>((resolve) => stranger.listen(0, "127.0.0.1", resolve));
    const address = stranger.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    expect(await ask(`http://127.0.0.1:${address.port}`, [""]), answer).toBe(false);
    stranger.closeAllConnections();
  }
});

for (const held of ["v2", "v3"] as const)
  test(
    `openEtcdRegistry() for all networks finds ${held} by the config of any, also of one that appears later`,
    bench(async (bench) => {
      const { signal, open, stateDir } = bench;
      const undecided = await open({ networks: "all" });
      expect((await undecided.listNetworks({ signal })).networks).toEqual([]);
      await bench[held].setConfig("blue", CONFIG, { signal });
      expect((await undecided.listNetworks({ signal })).networks).toEqual(["blue"]);
      expect((await undecided.createLease("blue", CLAIM, { signal })).subnet).toEqual(CLAIM.subnet);
      expect(api(undecided)).toBe(`etcd ${held}`);
      for (const state of [stateDir, undefined])
        expect(api(await open({ networks: "all", stateDir: state }))).toBe(`etcd ${held}`);
    }),
  );
