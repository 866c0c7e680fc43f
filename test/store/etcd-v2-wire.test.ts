import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { LeaseLostError, LeaseTakenError, StoreUnavailableError } from "../../src/lease/errors.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { silentLogger } from "../../src/lib/logger.ts";
import { parseEtcdOptions } from "../../src/store/etcd/options.ts";
import { EtcdV2Registry } from "../../src/store/etcd-v2/etcd-v2-registry.ts";
import type { LeaseEvents } from "../../src/store/registry.ts";
import { EtcdServer } from "../support/etcd.ts";
import { TamperingProxy } from "./tampering-proxy.ts";

const { signal } = new AbortController();
const options = { signal };
const subnet = parsePrefix("10.5.34.0/24");
const vxlan = {
  publicIP: parseAddress("192.168.77.11"),
  backendType: "vxlan",
  backendData: { VtepMAC: "66:72:44:0d:7e:1a" },
};
const claim = { subnet, attributes: vxlan, isReservation: false };
const other = { ...claim, attributes: { publicIP: parseAddress("192.168.77.12"), backendType: "host-gw" } };

let etcd: EtcdServer;
let proxy: TamperingProxy;
let registry: EtcdV2Registry;
let tests = 0;
let prefix: string;

beforeAll(async () => {
  etcd = await EtcdServer.start();
});
afterAll(() => etcd[Symbol.asyncDispose]());
beforeEach(async () => {
  prefix = `/wire/${++tests}`;
  proxy = await TamperingProxy.start(etcd.endpoint);
  registry = new EtcdV2Registry(parseEtcdOptions({ endpoints: proxy.endpoint, prefix }), {
    clock: systemClock,
    logger: silentLogger,
  });
  return async () => {
    await registry[Symbol.asyncDispose]();
    await proxy[Symbol.asyncDispose]();
  };
});

const seen = () => proxy.requests.map(({ method, path, body }) => `${method} ${path}${body && ` ${body}`}`);
const json = '{"PublicIP":"192.168.77.11","BackendType":"vxlan","BackendData":{"VtepMAC":"66:72:44:0d:7e:1a"}}';
const encoded =
  "%7B%22PublicIP%22%3A%22192.168.77.11%22%2C%22BackendType%22%3A%22vxlan%22%2C%22BackendData%22%3A%7B%22VtepMAC%22%3A%2266%3A72%3A44%3A0d%3A7e%3A1a%22%7D%7D";

describe("EtcdV2Registry on the wire", () => {
  test("reads, creates, renews, watches and deletes with 0.7.0's requests, writes having a condition", async () => {
    const home = `/v2/keys${prefix}`;
    await registry.setConfig("", '{"Network":"10.5.0.0/16"}', { ...options, expected: 0n });
    await registry.getConfig("", options);
    const { cursor } = await registry.listLeases("", options);
    const lease = await registry.createLease("", claim, options);
    for await (const { events } of registry.watchLeases("", cursor, options)) if (events.length > 0) break;
    const renewed = await registry.updateLease("", lease, claim, options);
    await registry.getLease("", subnet, options);
    const reserved = await registry.updateLease("", renewed, { ...claim, isReservation: true }, options);
    await registry.deleteLease("", reserved, options);
    const key = `${home}/subnets/10.5.34.0-24`;
    expect(seen()).toEqual([
      `GET ${home}/config?quorum=true&recursive=false&sorted=false`, // a write goes only to an endpoint that has proven itself
      `PUT ${home}/config?prevExist=false value=%7B%22Network%22%3A%2210.5.0.0%2F16%22%7D`,
      `GET ${home}/config?quorum=true&recursive=false&sorted=false`,
      `GET ${home}/subnets?quorum=true&recursive=true&sorted=false`,
      `PUT ${key}?prevExist=false ttl=86400&value=${encoded}`,
      `GET ${home}/subnets?recursive=true&wait=true&waitIndex=${cursor.index + 1n}`,
      `PUT ${key}?prevIndex=${lease.revision} ttl=86400&value=${encoded}`,
      `GET ${key}?quorum=true&recursive=false&sorted=false`,
      `PUT ${key}?prevIndex=${renewed.revision} value=${encoded}`,
      `DELETE ${key}?prevIndex=${reserved.revision}`,
    ]);
    for (const { method, contentType } of proxy.requests)
      expect(contentType).toBe(method === "PUT" ? "application/x-www-form-urlencoded" : undefined);
  });

  test("stores 0.7.0's exact text under 0.7.0's key, named networks below the prefix", async () => {
    await registry.createLease("", claim, options);
    await registry.createLease("blue", { ...claim, isReservation: true }, options);
    expect((await etcd.ctl2("get", `${prefix}/subnets/10.5.34.0-24`)).trim()).toBe(json);
    const details = await etcd.ctl2("--output=extended", "get", `${prefix}/blue/subnets/10.5.34.0-24`);
    expect(details).toContain("TTL: 0");
    expect(details).toContain(json);
  });

  test("follows changes in one streaming request once it has caught up", async () => {
    const { cursor } = await registry.listLeases("", options);
    const watch = registry.watchLeases("", cursor, options)[Symbol.asyncIterator]();
    expect((await watch.next()).value.events).toEqual([]);
    for (let round = 0; round < 20; round++) {
      const next = watch.next();
      const lease = await registry.createLease("", { ...claim, subnet: parsePrefix(`10.5.${round}.0/24`) }, options);
      const { events } = (await next).value;
      expect(events).toMatchObject([{ type: "added", lease: { subnet: lease.subnet, revision: lease.revision } }]);
    }
    await watch.return?.();
    expect(seen().filter((request) => request.includes("wait=true"))).toEqual([
      `GET /v2/keys${prefix}/subnets?recursive=true&stream=true&wait=true&waitIndex=${cursor.index + 1n}`,
    ]);
  });
});

describe("EtcdV2Registry that has missed changes", () => {
  test("polls for each of them, and streams from the present on", async () => {
    const { cursor } = await registry.listLeases("", options);
    const lease = await registry.createLease("", claim, options);
    await registry.deleteLease("", lease, options);
    const watch = registry.watchLeases("", cursor, options)[Symbol.asyncIterator]();
    const nextEvents = async (): Promise<LeaseEvents["events"]> => (await watch.next()).value.events;
    const types: string[] = [];
    while (types.length < 2) types.push(...(await nextEvents()).map(({ type }) => type));
    expect(types).toEqual(["added", "removed"]);
    const next = nextEvents();
    const path = `/v2/keys${prefix}/subnets?recursive=true`;
    const polls = () => proxy.requests.flatMap((request) => (request.path.startsWith(path) ? [request.path] : []));
    await expect
      .poll(polls)
      .toEqual([
        `${path}&wait=true&waitIndex=${cursor.index + 1n}`,
        `${path}&wait=true&waitIndex=${cursor.index + 2n}`,
        `${path}&stream=true&wait=true&waitIndex=${cursor.index + 3n}`,
      ]);
    await registry.createLease("", claim, options);
    expect(await next).toHaveLength(1);
    await watch.return?.();
  });
});

describe("EtcdV2Registry with a write that got no answer", () => {
  /** Does this to the first writes, and passes everything else. */
  const tamperWrites = (...first: ("lose answer" | "hold" | "reset")[]) => {
    proxy.tamper = ({ method }) => (method === "GET" ? "pass" : (first.shift() ?? "pass"));
  };
  const writes = () => proxy.requests.filter(({ method }) => method !== "GET").length;

  test("createLease() finds that it happened and does not repeat it", async () => {
    tamperWrites("lose answer");
    const lease = await registry.createLease("", claim, options);
    expect(lease).toEqual({ ...(await registry.getLease("", subnet, options)), ...volatile(lease) });
    expect(lease.attributes).toEqual(vxlan);
    expect(writes()).toBe(1);
  });

  test("createLease() finds that it did not happen and repeats it", async () => {
    tamperWrites("reset");
    const lease = await registry.createLease("", claim, options);
    expect((await registry.getLease("", subnet, options))?.revision).toBe(lease.revision);
    expect(writes()).toBe(2);
  });

  test("createLease() finds that another was quicker", async () => {
    proxy.tamper = ({ method }) => (method === "GET" || writes() > 1 ? "pass" : "reset");
    const held = new EtcdV2Registry(parseEtcdOptions({ endpoints: etcd.endpoint, prefix }), {
      clock: systemClock,
      logger: silentLogger,
    });
    await held.createLease("", other, options);
    await expect(registry.createLease("", claim, options)).rejects.toThrow(LeaseTakenError);
    expect((await held.getLease("", subnet, options))?.attributes).toEqual(other.attributes);
    await held[Symbol.asyncDispose]();
  });

  test("updateLease() finds that it happened, although the value is the same", async () => {
    const lease = await registry.createLease("", claim, options);
    tamperWrites("reset", "lose answer");
    const renewed = await registry.updateLease("", lease, claim, options);
    expect(renewed.revision).toBeGreaterThan(lease.revision);
    expect((await registry.getLease("", subnet, options))?.revision).toBe(renewed.revision);
    expect(writes()).toBe(3); // with the creation
  });

  test("updateLease() finds that another wrote meanwhile", async () => {
    const lease = await registry.createLease("", claim, options);
    await registry.updateLease("", lease, other, options);
    tamperWrites("reset");
    await expect(registry.updateLease("", lease, claim, options)).rejects.toThrow(LeaseLostError);
    expect((await registry.getLease("", subnet, options))?.attributes).toEqual(other.attributes);
  });

  test("deleteLease() finds that it happened", async () => {
    const lease = await registry.createLease("", claim, options);
    tamperWrites("lose answer");
    await registry.deleteLease("", lease, options);
    expect(await registry.getLease("", subnet, options)).toBeUndefined();
    expect(writes()).toBe(2);
  });

  test("createLease() throws StoreUnavailableError when it never comes through", async () => {
    tamperWrites("reset", "reset", "reset", "reset");
    await expect(registry.createLease("", claim, options)).rejects.toThrow(StoreUnavailableError);
    expect(writes()).toBe(3);
  });
});

/** Times are of the moment of the answer. */
function volatile({ expiresAt, expiration }: { expiresAt?: number; expiration?: Date }) {
  return { expiresAt, expiration };
}
