import { containsPrefix, equalPrefix } from "../../ip/prefix.ts";
import { type Link, ROUTE_PROTOCOL } from "../../kernel/kernel.ts";
import type { RemainingRoute, Remains } from "../../kernel/remains.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { HostRecord } from "./host-record.ts";
import type { Findings, LeftAlone, LeftoverSource } from "./leftover.ts";

/** Names that this and other flannels give to their devices, and of which kind those are. */
const DEVICES: readonly (readonly [name: RegExp, kind: string])[] = [
  [/^flannel(-v6)?\.\d+$/, "vxlan"],
  [/^flannel\d+$/, "tun"],
  [/^flannel\.ipip$/, "ipip"],
  [/^flannel-wg(-v6)?$/, "wireguard"],
];

/** RTPROT_BOOT: what 0.7.0 and later releases write, and `ip route add`. */
const PROTOCOL_BOOT = 3;

type RecordedNetworks = Pick<HostRecord, "networks" | "held" | "links">;

/** Devices, routes and nexthop objects. With a device go its addresses, neighbours, forwarding entries, routes and sysctls. */
export function kernelLeftovers(remains: Remains, record: RecordedNetworks): LeftoverSource {
  return {
    async find(options) {
      const links = await remains.listLinks(options);
      const devices = links.filter((link) => isOurDevice(link, record));
      const goesAlong = (link: string | undefined) => devices.some(({ name }) => name === link);
      const routes = (await remains.listRoutes(options)).filter(({ route }) => !goesAlong(route.link));
      const own = routes.filter((route) => isOurRoute(route, record));
      const nexthops = (await remains.listNexthops(options)).filter(({ link }) => !goesAlong(link));
      return {
        leftovers: [
          ...own.map((route) => ({
            kind: "route",
            name: route.text,
            remove: (options: Abortable) => remains.removeRoute(route, options),
          })),
          ...devices.map((link) => ({
            kind: "device",
            name: `${link.name} (${link.kind})`,
            remove: (options: Abortable) => remains.removeLink(link, options),
          })),
          // After the routes: with an object the kernel would remove its routes.
          ...nexthops.map(({ id }) => ({
            kind: "nexthop",
            name: String(id),
            remove: (options: Abortable) => remains.removeNexthop(id, options),
          })),
        ],
        leftAlone: [...strangeDevices(links, devices), ...strangeRoutes(routes, own)],
      } satisfies Findings;
    },
  };
}

function isOurDevice({ name, kind }: Link, { links }: RecordedNetworks): boolean {
  if (DEVICES.some(([pattern, made]) => pattern.test(name) && kind === made)) return true;
  return links.includes(name) && DEVICES.some(([, made]) => kind === made);
}

function isOurRoute({ route, isThroughOurs }: RemainingRoute, { networks, held }: RecordedNetworks): boolean {
  const { destination, protocol, gateway, link, unicast, multipath, metric } = route;
  if (!networks.some((network) => containsPrefix(network, destination)))
    return isThroughOurs && protocol === ROUTE_PROTOCOL;
  if (protocol === ROUTE_PROTOCOL) return true;
  if (protocol !== PROTOCOL_BOOT || multipath || metric !== 0) return false;
  // Later releases' `--ip-blackhole-route`.
  if (!unicast) return link === undefined && held.some(({ subnet }) => equalPrefix(subnet, destination));
  // A host's subnet through that host, of 0.7.0 and later releases: of the length of ours, in the same Network.
  return held.some(
    ({ network, subnet }) =>
      gateway !== undefined && subnet.length === destination.length && containsPrefix(network, destination),
  );
}

function strangeDevices(links: readonly Link[], devices: readonly Link[]): readonly LeftAlone[] {
  return links
    .filter((link) => !devices.includes(link) && DEVICES.some(([pattern]) => pattern.test(link.name)))
    .map(({ name, kind }) => ({
      kind: "device",
      name: `${name} (${kind ?? "hardware"})`,
      reason: "it has a name of flannel's, but no flannel makes devices of this kind",
    }));
}

function strangeRoutes(routes: readonly RemainingRoute[], own: readonly RemainingRoute[]): readonly LeftAlone[] {
  return routes
    .filter((route) => route.route.protocol === ROUTE_PROTOCOL && !own.includes(route))
    .map(({ text }) => ({
      kind: "route",
      name: text,
      reason: "it has flannel's protocol number, but lies in no network that is known here; --network names one",
    }));
}
