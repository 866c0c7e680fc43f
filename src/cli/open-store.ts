import type { NetworkDirectory } from "../lease/network-directory.ts";
import type { Administration, SubnetManager } from "../lease/subnet-manager.ts";
import { RegistrySubnetManager } from "../store/registry-subnet-manager.ts";
import type { StoreOptions } from "./flanneld-store-flags.ts";
import { type OpenRegistryOptions, openRegistry } from "./open-registry.ts";

export interface OpenStore {
  /** To be disposed of. */
  readonly manager: SubnetManager & Administration & NetworkDirectory;
  /** For messages: `etcd v2 at http://127.0.0.1:2379`. */
  readonly name: string;
}

/** Opens whatever says who holds which subnet: a store, or a flannel server before one. */
export async function openStore(store: StoreOptions, options: OpenRegistryOptions): Promise<OpenStore> {
  const { clock, logger, health } = options;
  if (store.kind === "remote") {
    const { RemoteSubnetManager } = await import("../remote/remote-subnet-manager.ts");
    const manager = new RemoteSubnetManager(store.remote, { clock, logger, health });
    return { manager, name: manager.name };
  }
  const registry = await openRegistry(store, options);
  return { manager: new RegistrySubnetManager(registry, { clock, logger, health }), name: registry.name };
}
