import type { NetworkDirectory } from "../lease/network-directory.ts";
import type { SubnetManager } from "../lease/subnet-manager.ts";
import type { KubeSubnetManager } from "../store/kube/kube-subnet-manager.ts";
import type { KubeStoreOptions, StoreOptions } from "./flanneld-store-flags.ts";
import type { OpenRegistryOptions } from "./open-registry.ts";
import { openStore } from "./open-store.ts";

/** What a host takes its lease from. */
export interface HostStore {
  /** To be disposed of. */
  readonly manager: SubnetManager;
  /** Absent where there is one network only. */
  readonly directory?: NetworkDirectory;
  /** The same manager, where the host is a node of a cluster. */
  readonly kube?: KubeSubnetManager;
}

/** Opens it; what only one kind needs is imported only now. */
export async function openHostStore(
  store: StoreOptions | KubeStoreOptions,
  options: OpenRegistryOptions,
): Promise<HostStore> {
  if (store.kind === "kubernetes") {
    const { openKube } = await import("../store/kube/open-kube.ts");
    const kube = await openKube(store.kube, { ...options, env: process.env });
    return { manager: kube, kube };
  }
  const { manager } = await openStore(store, options);
  return { manager, directory: manager };
}
