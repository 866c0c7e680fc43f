import { systemClock } from "../lib/clock.ts";
import type { Logger } from "../lib/logger.ts";
import type { SubnetManagerFixture } from "./conformance/subnet-manager-harness.ts";
import { MemoryRegistry } from "./memory/memory-registry.ts";
import { MemoryStore } from "./memory/memory-store.ts";
import { RegistrySubnetManager } from "./registry-subnet-manager.ts";
import { describeSubnetManager } from "./subnet-manager-conformance.ts";

interface MemoryFixture extends SubnetManagerFixture {
  readonly store: MemoryStore;
  readonly registry: MemoryRegistry;
  readonly manager: RegistrySubnetManager;
}

for (const network of ["", "blue"])
  describeSubnetManager(`RegistrySubnetManager in network "${network}"`, {
    choosesSubnets: true,
    async open({ logger }): Promise<MemoryFixture> {
      const store = new MemoryStore({ clock: systemClock });
      const connect = (to: Logger) => new MemoryRegistry(store, { logger: to });
      const registry = connect(logger);
      const manage = (over: MemoryRegistry) => new RegistrySubnetManager(over, { clock: systemClock, logger });
      const manager = manage(registry);
      return {
        store,
        registry,
        manager,
        network,
        openSecond: async () => manage(connect(logger)),
        setConfig: async (text) => store.setConfig(network, text),
        [Symbol.asyncDispose]: () => manager[Symbol.asyncDispose](),
      };
    },
    administration: ({ manager }) => manager,
    async removeLease({ manager }, subnet) {
      await manager.revokeLease(network, subnet, { signal: AbortSignal.timeout(1000) });
    },
    async forgetHistory({ store }) {
      store.clearHistory();
    },
    async stop({ registry }) {
      registry.connection = "down";
      return async () => {
        registry.connection = "up";
      };
    },
  });
