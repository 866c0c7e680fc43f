import { equalAddress } from "../ip/address.ts";
import type { MacAddress } from "../ip/mac-address.ts";
import { containsPrefix, equalPrefix, networkOf, overlaps, type Prefix } from "../ip/prefix.ts";
import type { KernelRoute, Link, LinkAddress, RouteScope } from "../kernel/kernel.ts";
import { fitsConfig } from "../lease/allocation.ts";
import { type NetworkConfig, rangesOf, type SubnetRange } from "../lease/network-config.ts";
import type { EnvRange, SubnetEnv } from "../lease/subnet-env.ts";
import type { HostState } from "./host-state.ts";

/** What earlier runs, of this program or of another flannel, left on the host for this network. */
export interface Heritage {
  /** The subnet held last, also of another Network. */
  readonly held: Prefix | undefined;
  /** Subnets held before that may be leased again, best first. */
  readonly previous: readonly Prefix[];
  /** Devices that were made for this network. */
  readonly links: readonly string[];
  /** Networks that leases were taken from before, and are not now. */
  readonly networks: readonly Prefix[];
  /** Which routes are this network's. */
  readonly routes: RouteScope;
  /** How a lease of this host is known: subnets it held, whatever the config says now, and MACs its device has or had. */
  readonly known: { readonly subnets: readonly Prefix[]; readonly macs: readonly MacAddress[] };
}

/** RTPROT_BOOT: what 0.7.0 and `ip route add` write. */
const PROTOCOL_BOOT = 3;

/** Devices as every flannel names them: flannel.1 and flannel-v6.1 (vxlan), flannel0 (udp). */
const FLANNEL_DEVICE = /^flannel(?:-v6\.|\.)?\d+$/;

/** @param published what the subnet.env of an earlier run says, if there is one that makes sense */
export function heritage(
  config: NetworkConfig,
  state: HostState,
  published: SubnetEnv | undefined,
  links: readonly Link[],
  addresses: readonly LinkAddress[],
): Heritage {
  const ranges = rangesOf(config);
  const isHere = (network: Prefix) => ranges.some((range) => equalPrefix(range.network, network));
  const publishedRanges =
    published === undefined ? [] : [published, ...(published.ipv6 === undefined ? [] : [published.ipv6])];
  const isPublishedHere = publishedRanges.some(({ network }) => isHere(network));
  const publishedHere = publishedRanges.filter(({ network }) => isHere(network)).map(subnetIn);
  const [publishedSubnet] = publishedRanges.map(subnetIn);
  const isRemembered = state.network !== undefined && isHere(state.network);
  const remembered = isRemembered ? [state.subnet, state.ipv6Subnet] : [];
  const previous = [...publishedHere, ...remembered].filter((subnet) => subnet !== undefined);
  const flannelWasHere = isPublishedHere || links.some((link) => FLANNEL_DEVICE.test(link.name));
  return {
    held: publishedSubnet ?? state.subnet,
    previous: previous.filter((subnet) => ranges.some((range) => fitsConfig(subnet, range))),
    links: [
      ...new Set([
        ...state.links,
        ...publishedRanges.map(subnetIn).flatMap((subnet) => devicesOf(subnet, links, addresses)),
      ]),
    ],
    networks: state.networks.filter((network) => !ranges.some((range) => overlaps(network, range.network))),
    known: {
      subnets: [publishedSubnet, state.subnet].filter((subnet) => subnet !== undefined),
      macs: [state.mac, state.macV6, ...links.filter(isOurVxlan).map(({ mac }) => mac)].filter(
        (mac) => mac !== undefined,
      ),
    },
    routes: {
      networks: ranges.map(({ network }) => network),
      adoptable: (route) => flannelWasHere && ranges.some((range) => madeByFlannel(route, range)),
    },
  };
}

function subnetIn({ subnet }: EnvRange): Prefix {
  return networkOf(subnet.address, subnet.length);
}

/** A vxlan device that carries the published subnet's first address, as every flannel's does. */
function devicesOf(subnet: Prefix, links: readonly Link[], addresses: readonly LinkAddress[]): string[] {
  return links
    .filter(isOurVxlan)
    .filter(({ name }) =>
      addresses.some(({ link, address }) => link === name && equalAddress(address.address, subnet.address)),
    )
    .map(({ name }) => name);
}

function isOurVxlan({ name, kind }: Link): boolean {
  return kind === "vxlan" && FLANNEL_DEVICE.test(name);
}

/** Whether a route looks like an earlier flannel's, though nothing else may show that there was one: by the interface between the hosts. */
export function mayBeFlannels(route: KernelRoute, config: NetworkConfig, underlay: string): boolean {
  return route.link === underlay && madeByFlannel(route, config);
}

/** Whether 0.7.0 would have made this route: a lease's subnet through a host, or the whole Network to its device. */
function madeByFlannel(
  { destination, gateway, link, protocol, unicast, multipath, metric }: KernelRoute,
  range: SubnetRange,
): boolean {
  if (protocol !== PROTOCOL_BOOT || !unicast || multipath || metric !== 0) return false;
  if (!containsPrefix(range.network, destination)) return false;
  const onFlannelDevice = link !== undefined && FLANNEL_DEVICE.test(link);
  return onFlannelDevice
    ? fitsConfig(destination, range) || equalPrefix(destination, range.network)
    : gateway !== undefined && fitsConfig(destination, range);
}
