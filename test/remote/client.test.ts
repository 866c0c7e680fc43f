// Our client before servers of several kinds: 0.7.0's, several of ours, broken ones.
import { once } from "node:events";
import { createServer } from "node:http";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { formatPrefix, parsePrefix } from "../../src/ip/prefix.ts";
import {
  ConfigNotFoundError,
  LeaseLostError,
  StoreRefusedError,
  StoreUnavailableError,
} from "../../src/lease/errors.ts";
import { parseNetworkConfig } from "../../src/lease/network-config.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { silentLogger } from "../../src/lib/logger.ts";
import { RecordingLogger } from "../../src/lib/recording-logger.ts";
import { RemoteSubnetManager } from "../../src/remote/remote-subnet-manager.ts";
import { Follower } from "../../src/store/conformance/follower.ts";
import { standing, tellsOf } from "../../src/store/conformance/subnet-manager-bench.ts";
import { MemoryRegistry } from "../../src/store/memory/memory-registry.ts";
import { MemoryStore } from "../../src/store/memory/memory-store.ts";
import { deafServer } from "../support/deaf-server.ts";
import { within } from "../support/within.ts";
import { ReferenceServer } from "./reference-server.ts";
import { type Serving, serve } from "./serving.ts";

const { signal } = new AbortController();
const options = { signal };
const CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}';
const PATIENCE = 20_000;

let cleanup: AsyncDisposableStack;
let logger: RecordingLogger;
beforeEach(() => {
  cleanup = new AsyncDisposableStack();
  logger = new RecordingLogger();
});
afterEach(() => cleanup.disposeAsync());

function client(...endpoints: readonly string[]): RemoteSubnetManager {
  return cleanup.use(new RemoteSubnetManager({ endpoints, files: {} }, { clock: systemClock, logger }));
}

function follow(manager: RemoteSubnetManager) {
  return cleanup.use(new Follower((signal) => manager.watchLeases("", { signal }), PATIENCE));
}

function take(manager: RemoteSubnetManager, host: number) {
  const publicIP = parseAddress(`192.0.2.${host}`);
  const attributes = () => ({ publicIP, backendType: "vxlan" });
  return manager.acquireLease("", { publicIP, config: parseNetworkConfig(CONFIG), previous: [], attributes }, options);
}

function newStore() {
  const store = new MemoryStore({ clock: systemClock });
  store.setConfig("", CONFIG);
  const registry = cleanup.use(new MemoryRegistry(store, { logger: silentLogger }));
  return { store, registry };
}

const url = ({ address }: Serving) => `http://${address}`;

describe("RemoteSubnetManager before a server of 0.7.0", () => {
  let server: ReferenceServer;
  let manager: RemoteSubnetManager;
  beforeEach(async () => {
    server = cleanup.use(await ReferenceServer.start());
    manager = client(server.endpoint);
  });

  test("networkConfig() understands its config, and that there is none", async () => {
    expect(await manager.networkConfig("", options)).toEqual(parseNetworkConfig(CONFIG));
    await expect(manager.networkConfig("nope", options)).rejects.toBeInstanceOf(ConfigNotFoundError);
  });

  test("acquireLease() and watchLeases() agree on what is our own lease", async () => {
    server.put("10.5.9.0/24", { PublicIP: "192.0.2.9", BackendType: "vxlan" });
    const lease = await take(manager, 1);
    expect(formatPrefix(lease.subnet)).toBe("10.5.46.0/24");
    const watch = follow(manager);
    await watch.until((updates) => standing(updates).length === 2);
    expect(tellsOf(lease)(watch.batches)).toBe(true);
    const renewed = await manager.updateLease("", lease, lease.attributes, options);
    await watch.until(tellsOf(renewed));
    server.put("10.5.10.0/24", { PublicIP: "192.0.2.10" });
    server.remove("10.5.9.0/24");
    await watch.until((updates) => updates.length >= 4);
    expect(await watch.until((updates) => standing(updates).length === 2)).toBeDefined();
    expect(standing(watch.batches)).toEqual(["10.5.10.0/24 192.0.2.10", "10.5.46.0/24 192.0.2.1"]);
    expect(watch.batches.filter((update) => update.type === "snapshot")).toHaveLength(1);
    expect(logger.messages("warn")).toEqual([]);
  });

  test("updateLease() does not take a lease back that is another's by now, though the server would", async () => {
    const lease = await take(manager, 1);
    server.put("10.5.46.0/24", { PublicIP: "192.0.2.2" });
    await expect(manager.updateLease("", lease, lease.attributes, options)).rejects.toBeInstanceOf(LeaseLostError);
    server.remove("10.5.46.0/24");
    await expect(manager.updateLease("", lease, lease.attributes, options)).rejects.toBeInstanceOf(LeaseLostError);
    expect(server.requests.filter((request) => request.startsWith("PUT"))).toEqual([]);
  });
});

describe("RemoteSubnetManager before several servers", () => {
  test("watchLeases() goes on with another server when one dies, and misses nothing", async () => {
    const { registry } = newStore();
    const [first, second] = [await serve(registry), cleanup.use(await serve(registry))];
    const manager = client(url(first), url(second));
    const own = await take(manager, 1);
    const watch = follow(manager);
    await watch.until(tellsOf(own));
    await first[Symbol.asyncDispose]();
    const theirs = await take(client(url(second)), 2);
    const updates = await watch.until(tellsOf(theirs));
    expect(updates.map((update) => update.type)).toEqual(["snapshot", "events"]);
    expect(logger.messages("info")).toContain("another flannel server is used now");
    expect(logger.messages("warn")).toEqual([]);
  });

  test("a server of another store is refused by name, and nothing is written to it", async () => {
    const [ours, other] = [newStore(), newStore()];
    other.store.wipe();
    other.store.setConfig("", CONFIG);
    const [first, stray] = [await serve(ours.registry), cleanup.use(await serve(other.registry))];
    const manager = client(url(first), url(stray));
    await take(manager, 1);
    await first[Symbol.asyncDispose]();
    await expect(take(manager, 1)).rejects.toThrow(
      /serves another store \(id memory-2, ours is memory-1\): see --remote/,
    );
    await expect(take(manager, 1)).rejects.toBeInstanceOf(StoreUnavailableError);
    expect((await other.registry.listLeases("", options)).leases).toEqual([]);
    expect(logger.messages("error")).toEqual(["a flannel server is not used"]);
  });

  test("a store that was made anew behind its servers is taken as it is, from a snapshot", async () => {
    const { store, registry } = newStore();
    const servers = [cleanup.use(await serve(registry)), cleanup.use(await serve(registry))];
    const manager = client(...servers.map(url));
    const watch = follow(manager);
    await take(manager, 1);
    await watch.until((updates) => standing(updates).length === 1);
    store.wipe();
    store.setConfig("", CONFIG);
    const anew = await take(client(url(servers[1] ?? servers[0]!)), 2);
    const updates = await watch.until(tellsOf(anew));
    expect(standing(updates)).toEqual([`${formatPrefix(anew.subnet)} 192.0.2.2`]);
    expect(updates.at(-1)?.cursor.history).toBe("memory-2");
  });

  test("a store that was restored is told by a snapshot, also to a client whose cursor is ahead", async () => {
    const { store, registry } = newStore();
    const server = await serve(registry);
    const manager = client(url(server));
    const backup = store.backup();
    for (const host of [1, 2, 3]) await take(manager, host);
    const watch = follow(manager);
    await watch.until((updates) => standing(updates).length === 3);
    store.restore(backup);
    const claim = {
      subnet: parsePrefix("10.5.99.0/24"),
      attributes: { publicIP: parseAddress("192.0.2.9") },
      isReservation: false,
    };
    await registry.createLease("", claim, options);
    const updates = await watch.until((all) => standing(all).includes("10.5.99.0/24 192.0.2.9"));
    expect(updates.at(-1)?.type).toBe("snapshot");
    expect(standing(updates)).toEqual(["10.5.99.0/24 192.0.2.9"]);
    await server[Symbol.asyncDispose]();
  });
});

describe("RemoteSubnetManager before what is no server", () => {
  async function endpointOf(answer: (respond: (status: number, body: string) => void) => void): Promise<string> {
    const server = createServer((_, response) => answer((status, body) => response.writeHead(status).end(body)));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    cleanup.defer(() => void (server.closeAllConnections(), server.close()));
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    return `http://127.0.0.1:${address.port}`;
  }

  test.each([
    [200, "<html>It works!</html>", StoreUnavailableError, /no flannel server's JSON/],
    [200, '{"events":null,"snapshot":[', StoreUnavailableError, /no flannel server's JSON/],
    [200, "{}", StoreUnavailableError, /without a cursor/],
    [404, "404 page not found\n", StoreRefusedError, /is no flannel server/],
    [400, "Client sent an HTTP request to an HTTPS server.\n", StoreRefusedError, /HTTPS server/],
    [502, "Bad Gateway", StoreUnavailableError, /502/],
  ])("a listing answered with %i %j is an error that says so", async (status, body, kind, message) => {
    const manager = client(await endpointOf((respond) => respond(status, body)));
    const failure = await manager.listLeases("", options).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(kind);
    expect(String(failure)).toMatch(message);
  });

  test("a lease that makes no sense is said once and hides nothing else", async () => {
    const good = '{"Subnet":"10.5.2.0/24","Attrs":{"PublicIP":"192.0.2.2"},"Expiration":"2099-01-01T00:00:00Z"}';
    const bad = [
      '{"Subnet":"10.5.3.0/33"}',
      '{"Subnet":"10.5.4.0/24","Attrs":{"PublicIP":7},"Expiration":"x"}',
      "null",
    ];
    const body = `{"events":null,"snapshot":[${[...bad, good].join(",")}],"cursor":"7"}`;
    const manager = client(await endpointOf((respond) => respond(200, body)));
    for (let round = 0; round < 2; round++)
      expect((await manager.listLeases("", options)).map((lease) => formatPrefix(lease.subnet))).toEqual([
        "10.5.2.0/24",
      ]);
    expect(logger.messages("warn")).toHaveLength(3);
  });

  test.for<[string, () => Promise<string>]>([
    ["is silent", () => endpointOf(() => undefined)],
    ["does not even take a connection", async () => `http://127.0.0.1:${cleanup.use(await deafServer()).port}`],
  ])("a server that %s is given up after 5 s, for another one", async ([, open]) => {
    const { registry } = newStore();
    const manager = client(await open(), url(cleanup.use(await serve(registry))));
    const before = performance.now();
    await within(9_000, "another one is asked", take(manager, 1));
    expect(performance.now() - before).toBeGreaterThan(4_000);
  });
});
