import { cpSync, rmSync } from "node:fs";
import { afterAll, beforeAll } from "vitest";
import { formatPrefix, type Prefix } from "../../src/ip/prefix.ts";
import type { NetworkName } from "../../src/lease/lease.ts";
import { systemClock } from "../../src/lib/clock.ts";
import type { Logger } from "../../src/lib/logger.ts";
import { parseEtcdOptions } from "../../src/store/etcd/options.ts";
import { EtcdV2Registry } from "../../src/store/etcd-v2/etcd-v2-registry.ts";
import type { Registry } from "../../src/store/registry.ts";
import { describeRegistry } from "../../src/store/registry-conformance.ts";
import { EtcdServer } from "../support/etcd.ts";
import { untilSilent } from "./silent.ts";

let server: EtcdServer;
beforeAll(async () => {
  server = await EtcdServer.start();
});
afterAll(() => server[Symbol.asyncDispose]());

/** Each test has a prefix of its own in one server. */
class Fixture {
  readonly #registries: Registry[] = [];
  readonly prefix: string;
  readonly registry: Registry;
  readonly #logger: Logger;

  constructor(number: number, logger: Logger) {
    this.prefix = `/test/${number}`;
    this.#logger = logger;
    this.registry = this.#open();
  }

  async openSecond(): Promise<Registry> {
    return this.#open();
  }

  key(network: NetworkName, name: string): string {
    return `${this.prefix}${network === "" ? "" : `/${network}`}/subnets/${name}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const registry of this.#registries) await registry[Symbol.asyncDispose]();
  }

  #open(): Registry {
    const options = parseEtcdOptions({ endpoints: server.endpoint, prefix: this.prefix });
    const registry = new EtcdV2Registry(options, { clock: systemClock, logger: this.#logger });
    this.#registries.push(registry);
    return registry;
  }
}

async function put(key: string, form: Readonly<Record<string, string>>): Promise<void> {
  const path = key.split("/").map(encodeURIComponent).join("/");
  const answer = await fetch(`${server.endpoint}/v2/keys${path}`, { method: "PUT", body: new URLSearchParams(form) });
  if (!answer.ok) throw new Error(await answer.text());
}

let fixtures = 0;

describeRegistry<Fixture>("etcd v2", {
  open: async ({ logger }) => new Fixture(++fixtures, logger),
  writeEntry: (fixture, network, key, value) => put(fixture.key(network, key), { value }),
  expire: async (fixture: Fixture, network: NetworkName, subnet: Prefix) => {
    const key = fixture.key(network, formatPrefix(subnet).replace("/", "-"));
    await put(key, { value: '{"PublicIP":"192.0.2.1"}', ttl: "1", prevExist: "true" });
  },
  compact: async () => {
    // etcd keeps the last 1,000 changes, whatever they were of.
    for (let batch = 0; batch < 20; batch++)
      await Promise.all(Array.from({ length: 51 }, () => put("/elsewhere", { value: String(batch) })));
  },
  wipe: () => server.wipe(),
  backup: async () => {
    const copy = server.path("backup");
    rmSync(copy, { recursive: true, force: true });
    await server.stop();
    cpSync(server.dataDirectory, copy, { recursive: true });
    await server.start();
    return async () => {
      await server.kill();
      rmSync(server.dataDirectory, { recursive: true });
      cpSync(copy, server.dataDirectory, { recursive: true });
      await server.start();
    };
  },
  stop: async () => {
    await server.stop();
    return () => server.start();
  },
  freeze: async () => {
    server.freeze();
    await untilSilent(server.endpoint);
    return async () => server.thaw();
  },
});
