import { execFileSync, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { formatPrefix, parsePrefix } from "../../src/ip/prefix.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { HistoryLostError, StoreUnavailableError } from "../../src/lease/errors.ts";
import type { Cursor, LeaseEvent } from "../../src/lease/lease.ts";
import { type Clock, systemClock } from "../../src/lib/clock.ts";
import { FakeClock } from "../../src/lib/fake-clock.ts";
import { silentLogger } from "../../src/lib/logger.ts";
import { parseEtcdOptions } from "../../src/store/etcd/options.ts";
import { EtcdV2Registry } from "../../src/store/etcd-v2/etcd-v2-registry.ts";
import type { LeaseEvents } from "../../src/store/registry.ts";
import { EtcdServer } from "../support/etcd.ts";
import { within } from "../support/within.ts";
import { TamperingProxy } from "./tampering-proxy.ts";

const { signal } = new AbortController();
const options = { signal };
const claim = (number: number) => ({
  subnet: parsePrefix(`10.5.${number}.0/24`),
  attributes: { publicIP: parseAddress("192.0.2.1") },
  isReservation: false,
});

let etcd: EtcdServer;
let prefix: string;
let tests = 0;
let cleanup = new AsyncDisposableStack();

beforeAll(async () => {
  etcd = await EtcdServer.start();
});
afterAll(() => etcd[Symbol.asyncDispose]());
beforeEach(() => {
  prefix = `/watch/${++tests}`;
});
afterEach(async () => {
  await cleanup.disposeAsync();
  cleanup = new AsyncDisposableStack();
});

function connect(endpoints = etcd.endpoint, clock: Clock = systemClock): EtcdV2Registry {
  return cleanup.use(new EtcdV2Registry(parseEtcdOptions({ endpoints, prefix }), { clock, logger: silentLogger }));
}

/** Collects what a watch tells until it fails. */
function follow(registry: EtcdV2Registry, since: Cursor) {
  const batches: LeaseEvents[] = [];
  const stop = new AbortController();
  cleanup.defer(() => stop.abort(new Error("the test is over")));
  const failed = (async (): Promise<unknown> => {
    try {
      for await (const batch of registry.watchLeases("", since, { signal: stop.signal })) batches.push(batch);
    } catch (error) {
      return error;
    }
    return undefined;
  })();
  return {
    failed,
    events: () => batches.flatMap(({ events }) => events),
    cursor: () => batches.at(-1)?.cursor ?? since,
    isConnected: () => batches.length > 0,
  };
}

const describeEvent = (event: LeaseEvent) =>
  event.type === "added" ? `+${formatPrefix(event.lease.subnet)}` : `-${formatPrefix(event.subnet)}`;

async function put(key: string, value: string): Promise<void> {
  const url = `${etcd.endpoint}/v2/keys${key}`;
  const answer = await fetch(url, { method: "PUT", body: new URLSearchParams({ value }) });
  if (!answer.ok) throw new Error(await answer.text());
}

async function changeOtherKeys(times: number): Promise<void> {
  for (let done = 0; done < times; done += 50)
    await Promise.all(Array.from({ length: Math.min(50, times - done) }, () => put("/elsewhere", "1")));
}

describe("EtcdV2Registry.watchLeases()", () => {
  test("goes on from its cursor after etcd was restarted, losing and repeating nothing", async () => {
    const registry = connect();
    const first = follow(registry, (await registry.listLeases("", options)).cursor);
    await registry.createLease("", claim(1), options);
    await expect.poll(() => first.events().map(describeEvent)).toEqual(["+10.5.1.0/24"]);
    await etcd.stop();
    expect(await first.failed).toBeInstanceOf(StoreUnavailableError);
    await etcd.start();
    const lease = await connect().createLease("", claim(2), options);
    await registry.deleteLease("", lease, options);
    const second = follow(registry, first.cursor());
    await expect.poll(() => second.events().map(describeEvent)).toEqual(["+10.5.2.0/24", "-10.5.2.0/24"]);
  });

  test("throws HistoryLostError when more changes were missed than etcd keeps", async () => {
    const registry = connect();
    const { cursor } = await registry.listLeases("", options);
    await registry.createLease("", claim(1), options);
    await changeOtherKeys(1_001);
    expect(await follow(registry, cursor).failed).toBeInstanceOf(HistoryLostError);
  });

  test("throws HistoryLostError when all leases are removed at once, whether present or past", async () => {
    const registry = connect();
    await registry.createLease("", claim(1), options);
    const { cursor } = await registry.listLeases("", options);
    for (const directory of [`${prefix}/subnets`, prefix]) {
      await registry.createLease("", claim(2), options);
      const watch = follow(registry, (await registry.listLeases("", options)).cursor);
      await expect.poll(watch.isConnected).toBe(true);
      await etcd.ctl2("rm", "--recursive", directory);
      expect(await watch.failed).toBeInstanceOf(HistoryLostError);
    }
    expect(await follow(registry, cursor).failed).toBeInstanceOf(HistoryLostError);
  });

  test("follows a burst of 1,000 changes, and catches up with 900 of them", async () => {
    const registry = connect();
    const { cursor } = await registry.listLeases("", options);
    const watch = follow(registry, cursor);
    await expect.poll(watch.isConnected).toBe(true);
    const value = '{"PublicIP":"192.0.2.1"}';
    const before = performance.now();
    for (let batch = 0; batch < 20; batch++)
      await Promise.all(
        Array.from({ length: 50 }, (_, number) => put(`${prefix}/subnets/10.${batch}.${number}.0-24`, value)),
      );
    const written = performance.now();
    const isFollowed = () => watch.events().length === 1_000;
    await waitUntil(isFollowed, { signal, within: 1_000 + (written - before), what: "all are told" });
    const late = follow(registry, { ...cursor, index: watch.cursor().index - 900n });
    await expect.poll(() => late.events().length).toBe(900);
    expect(late.events().map(describeEvent)).toEqual(watch.events().slice(100).map(describeEvent));
    await registry.createLease("", claim(200), options);
    for (const each of [watch, late])
      await expect.poll(() => each.events().at(-1)).toMatchObject({ lease: claim(200) });
  });

  test("learns of changes that etcd did not tell because too many came at once", async () => {
    const proxy = cleanup.use(await TamperingProxy.start(etcd.endpoint));
    const registry = connect(proxy.endpoint);
    const watch = follow(registry, (await registry.listLeases("", options)).cursor);
    await expect.poll(watch.isConnected).toBe(true);
    const value = JSON.stringify({ PublicIP: "192.0.2.1", BackendData: "x".repeat(50_000) });
    const readOn = proxy.stall();
    for (let batch = 0; batch < 8; batch++)
      await Promise.all(
        Array.from({ length: 50 }, (_, number) => put(`${prefix}/subnets/10.${batch}.${number}.0-24`, value)),
      );
    readOn();
    await expect.poll(() => watch.events().length).toBe(400);
    await registry.createLease("", claim(200), options);
    await expect.poll(() => watch.events().at(-1)).toMatchObject({ lease: claim(200) });
    expect(watch.events()).toHaveLength(401);
  });

  test("gives a lease from its history what is left of its time, not what it had", async () => {
    const registry = connect();
    const { cursor } = await registry.listLeases("", options);
    const before = systemClock.now();
    await registry.createLease("", claim(1), options);
    await delay(3_000);
    const watch = follow(registry, cursor);
    await expect.poll(() => watch.events().length).toBe(1);
    const [event] = watch.events();
    if (event?.type !== "added") throw new Error("not added");
    const left = ((event.lease.expiresAt ?? 0) - systemClock.now()) / 1_000;
    expect(left).toBeLessThan(86_400 - 1);
    expect(left).toBeGreaterThan(86_400 - (systemClock.now() - before) / 1_000 - 2); // etcd tells whole seconds
  });

  /** Lets time pass for a registry behind the proxy, and its requests be answered meanwhile, however long that takes. */
  const pass = async (clock: FakeClock, seconds: number, proxy: TamperingProxy) => {
    for (let passed = 0; passed < seconds; passed++) {
      await clock.advance(1_000);
      do await delay(25);
      while (proxy.unanswered > 0);
    }
  };

  test("keeps its cursor up with a store in which only other keys change", async () => {
    const clock = new FakeClock();
    const proxy = cleanup.use(await TamperingProxy.start(etcd.endpoint));
    const registry = connect(proxy.endpoint, clock);
    const { cursor } = await registry.listLeases("", options);
    const watch = follow(registry, cursor);
    await expect.poll(watch.isConnected).toBe(true);
    for (let round = 0; round < 4; round++) {
      await changeOtherKeys(450);
      await pass(clock, 12, proxy);
    }
    // The last renewal's answer may not have been read in those seconds.
    const moved = async () => {
      await pass(clock, 1, proxy);
      return watch.cursor().index - cursor.index;
    };
    await expect.poll(moved).toBeGreaterThanOrEqual(1_800n);
    expect(watch.events()).toEqual([]);
    await registry.createLease("", claim(1), options);
    await expect.poll(() => watch.events().map(describeEvent)).toEqual(["+10.5.1.0/24"]);
    const resumed = follow(registry, watch.cursor());
    await expect.poll(resumed.isConnected).toBe(true);
  });

  test("stays with its connection when it could not be renewed without loss", async () => {
    const clock = new FakeClock();
    const proxy = cleanup.use(await TamperingProxy.start(etcd.endpoint));
    const registry = connect(proxy.endpoint, clock);
    const watch = follow(registry, (await registry.listLeases("", options)).cursor);
    await expect.poll(watch.isConnected).toBe(true);
    await changeOtherKeys(1_100);
    await pass(clock, 12, proxy);
    await registry.createLease("", claim(1), options);
    await expect.poll(() => watch.events().map(describeEvent)).toEqual(["+10.5.1.0/24"]);
  });

  test("asks next to nothing while nothing happens", async () => {
    const clock = new FakeClock();
    const proxy = cleanup.use(await TamperingProxy.start(etcd.endpoint));
    const registry = connect(proxy.endpoint, clock);
    const watch = follow(registry, (await registry.listLeases("", options)).cursor);
    await expect.poll(watch.isConnected).toBe(true);
    const before = proxy.requests.length;
    await pass(clock, 61, proxy);
    const asked = proxy.requests.slice(before);
    expect(asked.length).toBeLessThanOrEqual(24);
    expect(asked.filter(({ path }) => path.includes("quorum=true"))).toEqual([]); // those write to etcd's log
  });

  test("gives up a member that has no leader and so hears of no changes", async () => {
    const clock = new FakeClock();
    const proxy = cleanup.use(await TamperingProxy.start(etcd.endpoint));
    const registry = connect(proxy.endpoint, clock);
    const watch = follow(registry, (await registry.listLeases("", options)).cursor);
    await expect.poll(watch.isConnected).toBe(true);
    const body = '{"name":"default","id":"1","state":"StateFollower","leaderInfo":{"leader":"0","uptime":"1s"}}';
    proxy.tamper = ({ path }) => (path === "/v2/stats/self" ? { body } : "pass");
    await pass(clock, 11, proxy);
    const error = await watch.failed;
    expect(error).toBeInstanceOf(StoreUnavailableError);
    expect((error as Error).message).toContain("no leader");
  });
});

describe("EtcdV2Registry.watchLeases() over a network that swallows packets", () => {
  const ip = (...args: string[]) => execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"] });
  const inside = (namespace: string, ...args: string[]) => ip("netns", "exec", namespace, ...args);
  const server = "f2-server";
  const client = "f2-client";

  beforeEach(() => {
    cleanup.defer(() => {
      for (const namespace of [server, client])
        try {
          ip("netns", "del", namespace);
        } catch {
          // it was not made
        }
    });
    ip("netns", "add", server);
    ip("netns", "add", client);
    ip("-n", server, "link", "add", "f2-eth0", "type", "veth", "peer", "f2-eth1", "netns", client);
    for (const [namespace, link, address] of [
      [server, "f2-eth0", "192.0.2.1/24"],
      [client, "f2-eth1", "192.0.2.2/24"],
    ] as const) {
      ip("-n", namespace, "address", "add", address, "dev", link);
      ip("-n", namespace, "link", "set", link, "up");
      ip("-n", namespace, "link", "set", "lo", "up");
    }
  });

  test("notices it within 15 s", async () => {
    const far = cleanup.use(await EtcdServer.start({ host: "192.0.2.1", wrapper: ["ip", "netns", "exec", server] }));
    const program = [process.execPath, `${import.meta.dirname}/follow-leases.ts`, far.endpoint, "/far"];
    const child = spawn("ip", ["netns", "exec", client, ...program], { stdio: ["ignore", "pipe", "inherit"] });
    cleanup.defer(() => void child.kill("SIGKILL"));
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe("events 0");
    await far.ctl2("set", "/far/subnets/10.5.1.0-24", '{"PublicIP":"192.0.2.9"}');
    expect((await lines.next()).value).toBe("events 1");
    inside(server, "nft", "add", "table", "inet", "f2");
    inside(server, "nft", "add chain inet f2 input { type filter hook input priority 0; }");
    inside(server, "nft", "add chain inet f2 output { type filter hook output priority 0; }");
    for (const chain of ["input", "output"]) inside(server, "nft", "add", "rule", "inet", "f2", chain, "drop");
    const { value } = await within(15_000, "it is noticed", lines.next());
    expect(value).toMatch(/^failed StoreUnavailableError/);
  });
});
