// Leasing through our server, whatever store is behind it. Needs etcd with its v2 API (Debian's etcd-server).
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { systemClock } from "../../src/lib/clock.ts";
import { type Logger, silentLogger } from "../../src/lib/logger.ts";
import { RemoteSubnetManager } from "../../src/remote/remote-subnet-manager.ts";
import type { SubnetManagerFixture, SubnetManagerHarness } from "../../src/store/conformance/subnet-manager-harness.ts";
import { parseEtcdOptions } from "../../src/store/etcd/options.ts";
import { EtcdV2Registry } from "../../src/store/etcd-v2/etcd-v2-registry.ts";
import { EtcdV3Registry } from "../../src/store/etcd-v3/etcd-v3-registry.ts";
import { MemoryRegistry } from "../../src/store/memory/memory-registry.ts";
import { MemoryStore } from "../../src/store/memory/memory-store.ts";
import type { Registry } from "../../src/store/registry.ts";
import { openSqliteRegistry } from "../../src/store/sqlite/sqlite-registry.ts";
import { describeSubnetManager } from "../../src/store/subnet-manager-conformance.ts";
import { EtcdServer } from "../support/etcd.ts";
import { type Serving, serve } from "./serving.ts";

const { signal } = new AbortController();

interface Fixture extends SubnetManagerFixture {
  readonly manager: RemoteSubnetManager;
  serving: Serving;
  readonly registry: Registry;
  readonly store: MemoryStore | undefined;
}

async function fixtureOver(
  registry: Registry,
  logger: Logger,
  close: () => Promise<void>,
  store?: MemoryStore,
): Promise<Fixture> {
  const serving = await serve(registry);
  const connect = () =>
    new RemoteSubnetManager({ endpoints: [`http://${serving.address}`], files: {} }, { clock: systemClock, logger });
  const manager = connect();
  const fixture: Fixture = {
    manager,
    network: "",
    serving,
    registry,
    store,
    openSecond: async () => connect(),
    setConfig: (text) => registry.setConfig("", text, { signal }),
    async [Symbol.asyncDispose]() {
      await manager[Symbol.asyncDispose]();
      await fixture.serving[Symbol.asyncDispose]();
      await close();
    },
  };
  return fixture;
}

const abilities: Omit<SubnetManagerHarness<Fixture>, "open"> = {
  choosesSubnets: true,
  administration: ({ manager }) => manager,
  removeLease: ({ manager, network }, subnet) => manager.revokeLease(network, subnet, { signal }),
  async stop(fixture) {
    const { port } = fixture.serving;
    await fixture.serving[Symbol.asyncDispose]();
    return async () => {
      fixture.serving = await serve(fixture.registry, { port });
    };
  },
};

let etcd: EtcdServer;
let stores = 0;
beforeAll(async () => {
  etcd = await EtcdServer.start();
});
afterAll(() => etcd[Symbol.asyncDispose]());

for (const [name, Registry] of [
  ["etcd v2", EtcdV2Registry],
  ["etcd v3", EtcdV3Registry],
] as const)
  describeSubnetManager(`server over ${name}`, {
    ...abilities,
    async open({ logger }) {
      const options = parseEtcdOptions({ endpoints: etcd.endpoint, prefix: `/test/${++stores}` });
      const registry = new Registry(options, { clock: systemClock, logger: silentLogger });
      return await fixtureOver(registry, logger, () => registry[Symbol.asyncDispose]());
    },
  });

describeSubnetManager("server over a store in memory", {
  ...abilities,
  async open({ logger }) {
    const store = new MemoryStore({ clock: systemClock });
    const registry = new MemoryRegistry(store, { logger: silentLogger });
    return await fixtureOver(registry, logger, () => registry[Symbol.asyncDispose](), store);
  },
  async forgetHistory(fixture) {
    const { port } = fixture.serving;
    await fixture.serving[Symbol.asyncDispose]();
    fixture.store?.clearHistory();
    fixture.serving = await serve(fixture.registry, { port });
  },
});

describeSubnetManager("server over an embedded store", {
  ...abilities,
  async open({ logger }) {
    const directory = await mkdtemp(join(tmpdir(), "remote-manager-"));
    const registry = await openSqliteRegistry(
      join(directory, "leases.db"),
      { logger: silentLogger, grace: 0 },
      { signal },
    );
    return await fixtureOver(registry, logger, async () => {
      await registry[Symbol.asyncDispose]();
      await rm(directory, { recursive: true });
    });
  },
});
