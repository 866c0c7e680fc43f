import { parseVxlanOptions } from "../backend/vxlan/options.ts";
import { equalPrefix, type Prefix } from "../ip/prefix.ts";
import { fitsNetwork } from "../lease/allocation.ts";
import { OutOfSubnetsError } from "../lease/errors.ts";
import type { Lease } from "../lease/lease.ts";
import { rangesOf } from "../lease/network-config.ts";
import type { Abortable } from "../lib/abortable.ts";
import { untilItWorks } from "../lib/until-it-works.ts";
import type { Configured } from "./configured.ts";
import type { HostMemory } from "./host-memory.ts";
import { claimLease } from "./lease-claim.ts";
import { LeaseHolder } from "./lease-holder.ts";
import type { NetworkOptions } from "./network-options.ts";
import { Overtaken } from "./overtaken.ts";
import { moveLease, rememberedLease } from "./own-lease-moving.ts";
import { externalOf, sameUnderlay } from "./underlay-interface.ts";

type Parts = Pick<NetworkOptions, "store" | "name" | "kernel" | "underlay" | "clock" | "logger"> & {
  readonly memory: HostMemory;
  /** Held when it was overtaken, and still ours. */
  readonly held: Lease | undefined;
  /** The subnet of a lease that was lost. */
  readonly lost: Prefix | undefined;
};

/** Waits for a subnet of this network. @throws {Overtaken} if the interface changes meanwhile */
export async function whenLeased(
  configured: Configured,
  parts: Parts,
  { signal, onFailure }: Abortable & { readonly onFailure: (reason: string) => void },
): Promise<Lease> {
  const { clock, logger, lost } = parts;
  const { heritage } = configured;
  const holder = new LeaseHolder({ store: parts.store, network: parts.name, clock });
  const lease = await untilItWorks(() => takeLease(configured, { ...parts, holder }, { signal }), "no lease yet", {
    clock,
    logger,
    signal,
    onFailure,
    isFinal: (error) => error instanceof Overtaken,
    delay: (error) => (error instanceof OutOfSubnetsError ? 500 + 300 * Math.random() : 1_000),
  });
  logger.info("subnet leased", {
    subnet: lease.subnet,
    ...(lease.ipv6Subnet !== undefined && { ipv6Subnet: lease.ipv6Subnet }),
    reservation: lease.isReservation,
    expiration: lease.expiration,
  });
  const before = lost ?? heritage.held;
  if (before !== undefined && !equalPrefix(before, lease.subnet))
    logger.warn("subnet changed: containers started before must be restarted", { before, now: lease.subnet });
  return lease;
}

async function takeLease(
  { config, underlay: seen, external, prepared, heritage }: Configured,
  { store, name, kernel, underlay, logger, memory, held, lost, holder }: Parts & { readonly holder: LeaseHolder },
  { signal }: Abortable,
): Promise<Lease> {
  const families = rangesOf(config).map(({ network }) => network.address.family);
  if (!sameUnderlay(seen, underlay.current, families)) {
    prepared.abandon();
    throw new Overtaken("the interface to the other hosts has changed");
  }
  const ours = held ?? (await rememberedLease(memory.state, external, config, kernel, { signal, logger }));
  const attributes = (existing: Lease | undefined) => prepared.attributes(existing);
  const { known } = heritage;
  const { type, options: written } = config.backend;
  const vxlan = type === "vxlan" ? parseVxlanOptions(written) : undefined;
  const claim = (existing: Lease, options: Abortable) =>
    claimLease(existing, { kernel, external, vxlan, known, holder, logger }, options);
  const moving = { store, network: name, config, held: ours, attributes: attributes(ours), claim };
  const moved = await moveLease(moving, { signal });
  if (moved !== undefined && fitsNetwork(moved, config)) return moved;
  const { publicIP } = external;
  const publicIPv6 = config.ipv6 && externalOf(seen, 6).publicIP;
  const previous = lost === undefined ? heritage.previous : [lost, ...heritage.previous];
  return await store.acquireLease(name, { publicIP, publicIPv6, config, attributes, claim, previous }, { signal });
}
