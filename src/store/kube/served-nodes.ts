import { equalPrefix, type Prefix } from "../../ip/prefix.ts";
import type { Cursor, Lease, NetworkName } from "../../lease/lease.ts";
import type { SubnetManager } from "../../lease/subnet-manager.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { UnsupportedError } from "../../lib/errors.ts";
import type { KubeSubnetManager } from "./kube-subnet-manager.ts";

/**
 * A cluster's nodes as a flannel server shows them to hosts outside: to be read and watched. Leases are the cluster's to give, so whatever
 * would make or change one is refused, as in 0.7.0 for reservations.
 */
export function servedNodes(kube: KubeSubnetManager) {
  const refused = (): Promise<never> => Promise.reject(new UnsupportedError("leases", "unimplemented"));
  const manager: SubnetManager = {
    leaseFormat: kube.leaseFormat,
    networkConfig: (network, options) => kube.networkConfig(network, options),
    watchLeases: (network, options) => kube.watchLeases(network, options),
    acquireLease: refused,
    updateLease: refused,
    [Symbol.asyncDispose]: () => kube[Symbol.asyncDispose](),
  };
  const listLeases = (
    _network: NetworkName,
    options: Abortable,
  ): Promise<{ leases: readonly Lease[]; cursor: Cursor }> => kube.listLeases(options);
  const getLease = async (network: NetworkName, subnet: Prefix, options: Abortable): Promise<Lease | undefined> =>
    (await listLeases(network, options)).leases.find((lease) => equalPrefix(lease.subnet, subnet));
  const book = { listLeases, getLease, createLease: refused, updateLease: refused, deleteLease: refused };
  return { manager, book };
}
