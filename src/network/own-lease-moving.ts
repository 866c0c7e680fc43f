import { equalAddress } from "../ip/address.ts";
import { fitsConfig } from "../lease/allocation.ts";
import { LeaseLostError } from "../lease/errors.ts";
import type { Lease, LeaseAttributes, NetworkName } from "../lease/lease.ts";
import type { NetworkConfig } from "../lease/network-config.ts";
import type { SubnetManager } from "../lease/subnet-manager.ts";
import type { Abortable } from "../lib/abortable.ts";

export interface MovingLease {
  readonly store: SubnetManager;
  readonly network: NetworkName;
  readonly config: NetworkConfig;
  /** What we held under another public IP. */
  readonly held: Lease | undefined;
  /** What it is to say now. */
  readonly attributes: LeaseAttributes;
}

/**
 * Takes the lease along to another public IP, with its subnet: to the store it would be another host's, and its subnet taken.
 * @returns undefined if there is none to be taken along, or it is not ours any more
 */
export async function moveLease(
  { store, network, config, held, attributes }: MovingLease,
  options: Abortable,
): Promise<Lease | undefined> {
  if (held === undefined || !fitsConfig(held.subnet, config)) return undefined;
  if (equalAddress(held.attributes.publicIP, attributes.publicIP)) return undefined;
  try {
    return await store.updateLease(network, held, attributes, options);
  } catch (error) {
    if (error instanceof LeaseLostError) return undefined;
    throw error;
  }
}
