import { formatPrefix } from "../../src/ip/prefix.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { type Logger, silentLogger } from "../../src/lib/logger.ts";
import type { RegistryFixture } from "../../src/store/conformance/registry-harness.ts";
import { parseEtcdOptions } from "../../src/store/etcd/options.ts";
import { EtcdV3Registry } from "../../src/store/etcd-v3/etcd-v3-registry.ts";
import { describeRegistry } from "../../src/store/registry-conformance.ts";
import { EtcdServer } from "../support/etcd.ts";
import { untilSilent } from "./silent.ts";

const PREFIX = "/coreos.com/network";

interface Fixture extends RegistryFixture {
  readonly server: EtcdServer;
}

function connect(endpoints: string, logger: Logger = silentLogger, flags = {}) {
  return new EtcdV3Registry(parseEtcdOptions({ endpoints, prefix: PREFIX, ...flags }), { clock: systemClock, logger });
}

describeRegistry("EtcdV3Registry", {
  async open({ logger }): Promise<Fixture> {
    const server = await EtcdServer.start({ v2: false });
    const registry = connect(server.endpoint, logger);
    return {
      server,
      registry,
      openSecond: async () => connect(server.endpoint, logger),
      async [Symbol.asyncDispose]() {
        await registry[Symbol.asyncDispose]();
        await server[Symbol.asyncDispose]();
      },
    };
  },
  async writeEntry({ server }, network, key, value) {
    await server.ctl("put", keyOf(network, key), value);
  },
  async expire({ server }, network, subnet) {
    const key = keyOf(network, formatPrefix(subnet).replace("/", "-"));
    const granted = await server.ctl("lease", "grant", "3600");
    const id = /lease (\w+) granted/.exec(granted)?.[1] ?? "";
    await server.ctl("put", key, "--ignore-value", `--lease=${id}`);
    await server.ctl("lease", "revoke", id); // as etcd does itself when its time is over, which may be before it is put
  },
  compact: ({ server }) => server.compact(),
  wipe: ({ server }) => server.wipe(),
  async backup({ server }) {
    await server.saveSnapshot();
    return () => server.restoreSnapshot();
  },
  async stop({ server }) {
    await server.stop();
    return () => server.start();
  },
  async freeze({ server }) {
    server.freeze();
    await untilSilent(server.endpoint);
    return async () => server.thaw();
  },
});

function keyOf(network: string, key: string): string {
  return `${PREFIX}/${network === "" ? "" : `${network}/`}subnets/${key}`;
}
