import type { ExternalInterface } from "../backend/backend.ts";
import { type MacByFamily, type PreparedOverlay, prepareOverlay } from "../backend/overlay.ts";
import { backendType } from "../backend/types.ts";
import { sharedCloud } from "../cloud/shared-cloud.ts";
import type { KernelRoute } from "../kernel/kernel.ts";
import { type NetworkConfig, rangesOf, type SubnetRange } from "../lease/network-config.ts";
import type { Abortable } from "../lib/abortable.ts";
import { InvalidConfigError } from "../lib/errors.ts";
import { untilItWorks } from "../lib/until-it-works.ts";
import { type Heritage, heritage, mayBeFlannels } from "./heritage.ts";
import type { HostMemory } from "./host-memory.ts";
import { type HostNetworks, overlapWithHost } from "./host-overlap.ts";
import type { HostState } from "./host-state.ts";
import type { NetworkOptions } from "./network-options.ts";
import { readPublished } from "./published.ts";
import { externalOf, type UnderlayInterface } from "./underlay-interface.ts";
import { limitMtu, parseUnderlayMtu } from "./underlay-mtu.ts";

/** A config that this host can serve, and a backend that is ready for a lease. */
export interface Configured {
  readonly config: NetworkConfig;
  readonly underlay: UnderlayInterface;
  /** The way to other hosts in the network's first family. */
  readonly external: ExternalInterface;
  readonly heritage: Heritage;
  readonly prepared: PreparedOverlay;
}

type Parts = Omit<NetworkOptions, "renewMargin" | "onReady" | "onStatus" | "filters"> & {
  readonly memory: HostMemory;
};

/** Waits for a config that this host can serve: what is wrong is said once, and a better one is found within a second. */
export function whenConfigured(
  parts: Parts,
  { signal, onFailure }: Abortable & { readonly onFailure: (reason: string) => void },
): Promise<Configured> {
  const { clock, logger } = parts;
  return untilItWorks(() => configure(parts, { signal }), "no usable network config yet; waiting for one", {
    clock,
    logger,
    signal,
    onFailure,
  });
}

async function configure(parts: Parts, { signal }: Abortable): Promise<Configured> {
  const { store, name, kernel, keeper, cloud, underlay, logger, memory } = parts;
  const config = await store.networkConfig(name, { signal });
  const { current } = underlay;
  const externals = rangesOf(config).map(({ network }) => externalOf(current, network.address.family));
  const [external] = externals;
  if (external === undefined) throw new Error("a network without a family");
  const mtu = parseUnderlayMtu(config.backend);
  const type = backendType(config.backend.type);
  parts.claims?.claim(name, config);
  const [published, links, addresses] = await Promise.all([
    readPublished(parts.subnetFile),
    kernel.listLinks({ signal }),
    kernel.listAddresses({ signal }),
  ]);
  const inherited = heritage(config, memory.state, published, links, addresses);
  // Where flannel works already, the host is not to be cut off by an upgrade: then it is told later.
  if (inherited.previous.length === 0) {
    const host = { links, addresses, routes: await kernel.listRoutes({ signal }) };
    const isFlannels = (route: KernelRoute) => mayBeFlannels(route, config, external.link.name);
    for (const range of rangesOf(config)) refuseOverlap(range, host, isFlannels);
  }
  const prepared = await prepareOverlay(
    type,
    {
      options: type.parseOptions(config.backend.options),
      config,
      externals: externals.map((external) => limitMtu(external, mtu)),
      leaseFormat: store.leaseFormat,
      kernel,
      keeper,
      routes: inherited.routes,
      logger,
      rememberedMacs: rememberedMacs(memory.state),
      notes: memory.notes,
      cloud: sharedCloud(cloud),
    },
    { signal },
  );
  if (mtu !== undefined && mtu > current.link.mtu)
    logger.warn("Backend.MTU is more than the interface takes", { mtu, interface: current.link.mtu });
  for (const warning of config.warnings) logger.warn("network config", { warning });
  return { config, underlay: current, external, prepared, heritage: inherited };
}

function rememberedMacs({ mac, macV6 }: HostState): MacByFamily {
  return { ...(mac !== undefined && { 4: mac }), ...(macV6 !== undefined && { 6: macV6 }) };
}

/** @throws {InvalidConfigError} naming the route */
function refuseOverlap(range: SubnetRange, host: HostNetworks, isFlannels: (route: KernelRoute) => boolean): void {
  const overlap = overlapWithHost(range, host, isFlannels);
  if (overlap === undefined) return;
  throw new InvalidConfigError(range.network.address.family === 6 ? "IPv6Network" : "Network", overlap);
}
