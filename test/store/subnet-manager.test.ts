// Leasing over each real store: needs etcd with its v2 API (Debian's etcd-server).
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { systemClock } from "../../src/lib/clock.ts";
import { type Logger, silentLogger } from "../../src/lib/logger.ts";
import type { SubnetManagerFixture, SubnetManagerHarness } from "../../src/store/conformance/subnet-manager-harness.ts";
import { parseEtcdOptions } from "../../src/store/etcd/options.ts";
import { EtcdV2Registry } from "../../src/store/etcd-v2/etcd-v2-registry.ts";
import { EtcdV3Registry } from "../../src/store/etcd-v3/etcd-v3-registry.ts";
import type { Registry } from "../../src/store/registry.ts";
import { RegistrySubnetManager } from "../../src/store/registry-subnet-manager.ts";
import { openSqliteRegistry } from "../../src/store/sqlite/sqlite-registry.ts";
import { describeSubnetManager } from "../../src/store/subnet-manager-conformance.ts";
import { EtcdServer } from "../support/etcd.ts";

const { signal } = new AbortController();

interface Fixture extends SubnetManagerFixture {
  readonly manager: RegistrySubnetManager;
}

/** A fixture over however many connections to one store. */
async function fixtureOver(connect: () => Promise<Registry>, logger: Logger): Promise<Fixture> {
  const manage = async () => new RegistrySubnetManager(await connect(), { clock: systemClock, logger });
  const manager = await manage();
  const registry = await connect();
  return {
    manager,
    network: "",
    openSecond: manage,
    setConfig: (text) => registry.setConfig("", text, { signal }),
    async [Symbol.asyncDispose]() {
      await manager[Symbol.asyncDispose]();
      await registry[Symbol.asyncDispose]();
    },
  };
}

const abilities: Omit<SubnetManagerHarness<Fixture>, "open"> = {
  choosesSubnets: true,
  administration: ({ manager }) => manager,
  removeLease: ({ manager, network }, subnet) => manager.revokeLease(network, subnet, { signal }),
};

let server: EtcdServer;
let stores = 0;
beforeAll(async () => {
  server = await EtcdServer.start();
});
afterAll(() => server[Symbol.asyncDispose]());

const stop = async () => {
  await server.stop();
  return () => server.start();
};

function etcdOptions(store: number) {
  return parseEtcdOptions({ endpoints: server.endpoint, prefix: `/test/${store}` });
}

describeSubnetManager("etcd v2", {
  ...abilities,
  open({ logger }) {
    const options = etcdOptions(++stores);
    const connect = async () => new EtcdV2Registry(options, { clock: systemClock, logger: silentLogger });
    return fixtureOver(connect, logger);
  },
  stop,
  async forgetHistory() {
    for (let batch = 0; batch < 20; batch++)
      await Promise.all(
        Array.from({ length: 51 }, () =>
          fetch(`${server.endpoint}/v2/keys/elsewhere`, { method: "PUT", body: new URLSearchParams({ value: "x" }) }),
        ),
      );
  },
});

describeSubnetManager("etcd v3", {
  ...abilities,
  open({ logger }) {
    const options = etcdOptions(++stores);
    const connect = async () => new EtcdV3Registry(options, { clock: systemClock, logger: silentLogger });
    return fixtureOver(connect, logger);
  },
  stop,
  forgetHistory: () => server.compact(),
});

describeSubnetManager("SQLite", {
  ...abilities,
  async open({ logger }) {
    const directory = await mkdtemp(join(tmpdir(), "subnet-manager-"));
    const file = join(directory, "leases.db");
    const connect = () => openSqliteRegistry(file, { logger: silentLogger, grace: 0 }, { signal });
    const fixture = await fixtureOver(connect, logger);
    return {
      ...fixture,
      async [Symbol.asyncDispose]() {
        await fixture[Symbol.asyncDispose]();
        await rm(directory, { recursive: true });
      },
    };
  },
});
