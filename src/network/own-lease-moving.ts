import type { ExternalInterface } from "../backend/backend.ts";
import { equalAddress } from "../ip/address.ts";
import { containsAddress, equalPrefix, networkOf } from "../ip/prefix.ts";
import type { Kernel } from "../kernel/kernel.ts";
import { fitsConfig } from "../lease/allocation.ts";
import { LeaseLostError } from "../lease/errors.ts";
import type { Lease, LeaseAttributes, NetworkName } from "../lease/lease.ts";
import type { NetworkConfig } from "../lease/network-config.ts";
import type { SubnetManager } from "../lease/subnet-manager.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Logger } from "../lib/logger.ts";
import type { HostState } from "./host-state.ts";
import { type LinkNeighbors, otherHostWith } from "./other-host.ts";

export interface MovingLease {
  readonly store: SubnetManager;
  readonly network: NetworkName;
  readonly config: NetworkConfig;
  /** What we held under another public IP. */
  readonly held: Lease | undefined;
  /** What it is to say now. */
  readonly attributes: LeaseAttributes;
  /** Asked before we take a public IP that is in another lease. @throws if it is another host's */
  readonly claim: (existing: Lease, options: Abortable) => Promise<void>;
}

/**
 * Takes the lease along to another public IP, with its subnet: to the store it would be another host's, and its subnet taken.
 * @returns undefined if there is none to be taken along, or it is not ours any more
 */
export async function moveLease(
  { store, network, config, held, attributes, claim }: MovingLease,
  options: Abortable,
): Promise<Lease | undefined> {
  if (held === undefined || !fitsConfig(held.subnet, config)) return undefined;
  if (equalAddress(held.attributes.publicIP, attributes.publicIP)) return undefined;
  for (const lease of await leasesOf(store, network, options))
    if (equalAddress(lease.attributes.publicIP, attributes.publicIP) && !equalPrefix(lease.subnet, held.subnet))
      await claim(lease, options);
  try {
    return await store.updateLease(network, held, attributes, options);
  } catch (error) {
    if (error instanceof LeaseLostError) return undefined;
    throw error;
  }
}

async function leasesOf(store: SubnetManager, network: NetworkName, options: Abortable): Promise<readonly Lease[]> {
  for await (const update of store.watchLeases(network, options)) if (update.type === "snapshot") return update.leases;
  return [];
}

/**
 * The lease that this host had by another address when it last ran. It is not taken along if somebody answers by that address: then this
 * host is a copy of another, or the address was given to somebody else; nor if the address is none of this link's, where nobody can be asked.
 */
export async function rememberedLease(
  { network, subnet, ipv6Subnet, publicIP }: HostState,
  external: ExternalInterface,
  config: NetworkConfig,
  kernel: LinkNeighbors & Pick<Kernel, "listAddresses">,
  options: Abortable & { readonly logger: Logger },
): Promise<Lease | undefined> {
  if (network === undefined || subnet === undefined || publicIP === undefined) return undefined;
  if (!equalPrefix(network, config.network) || equalAddress(publicIP, external.publicIP)) return undefined;
  const { name } = external.link;
  const addresses = await kernel.listAddresses(options);
  const isOnLink = addresses.some(
    ({ link, address }) => link === name && containsAddress(networkOf(address.address, address.length), publicIP),
  );
  if (!isOnLink || (await otherHostWith(kernel, name, publicIP, options)) !== undefined) return undefined;
  const subnets = { subnet, ...(ipv6Subnet !== undefined && { ipv6Subnet }) };
  return { ...subnets, attributes: { publicIP }, isReservation: false, revision: 0n };
}
