import { LEASE_TTL } from "../../lease/lease.ts";
import { FakeClock } from "../../lib/fake-clock.ts";
import type { Logger } from "../../lib/logger.ts";
import type { RegistryFixture } from "../conformance/registry-harness.ts";
import { describeRegistry } from "../registry-conformance.ts";
import { type Connection, MemoryRegistry } from "./memory-registry.ts";
import { MemoryStore } from "./memory-store.ts";

const clock = new FakeClock();

interface MemoryFixture extends RegistryFixture {
  readonly store: MemoryStore;
  readonly registry: MemoryRegistry;
}

for (const leaseFormat of ["0.7", "later"] as const)
  describeRegistry(`MemoryRegistry, format ${leaseFormat}`, {
    clock,
    async open({ logger }): Promise<MemoryFixture> {
      const store = new MemoryStore({ clock });
      const connect = (to: Logger) => new MemoryRegistry(store, { logger: to, leaseFormat });
      return {
        store,
        registry: connect(logger),
        openSecond: async () => connect(logger),
        async [Symbol.asyncDispose]() {},
      };
    },
    async writeEntry({ store }, network, key, value) {
      store.put(network, key, value, undefined);
    },
    expire: () => clock.advance(LEASE_TTL),
    compact: async ({ store }) => store.clearHistory(),
    wipe: async ({ store }) => store.wipe(),
    async backup({ store }) {
      const backup = store.backup();
      return async () => store.restore(backup);
    },
    stop: (fixture) => disturb(fixture, "down"),
    async freeze(fixture) {
      const mend = await disturb(fixture, "silent");
      const passing = setInterval(() => void clock.advance(100), 5);
      return () => {
        clearInterval(passing);
        return mend();
      };
    },
  });

async function disturb({ registry }: MemoryFixture, connection: Connection): Promise<() => Promise<void>> {
  registry.connection = connection;
  return async () => {
    registry.connection = "up";
  };
}
