import { type Address, type Family, formatAddress, isLinkLocal, isMulticast } from "../ip/address.ts";
import type { KernelRoute, Link, LinkAddress } from "../kernel/kernel.ts";

/** Devices that some flannel made: never the way to other hosts. */
export const MADE_BY_FLANNEL = /^flannel[.\d-]/;

/** Bridges as container runtimes name them, and the containers' ends on them: never the way either, though their addresses may look so. */
const CONTAINERS = /^(cni|cbr|docker|podman|lxcbr|virbr|nerdctl)\d+$|^(veth|cali|lxc|br-[0-9a-f]{12}$)/;

/** Whether a link may carry packets to other hosts, as far as its name tells. Such a link may still be named. */
export function isUnderlay({ name, loopback }: Link): boolean {
  return !loopback && !MADE_BY_FLANNEL.test(name) && !CONTAINERS.test(name);
}

/** The link's addresses, in the kernel's order, link-local ones last. */
export function ipv4Of(link: string, addresses: readonly LinkAddress[]): readonly Address[] {
  const ipv4 = addresses
    .filter((candidate) => candidate.link === link)
    .map((candidate) => candidate.address.address)
    .filter((address) => address.family === 4 && !isMulticast(address));
  return [...ipv4.filter((address) => !isLinkLocal(address)), ...ipv4.filter(isLinkLocal)];
}

/** Those of the link that other hosts may know it by, in the kernel's order. */
export function ipv6Of(link: string, addresses: readonly LinkAddress[]): readonly Address[] {
  return addresses
    .filter((each) => each.link === link && each.scope !== "host" && each.isPassing !== true)
    .map(({ address: { address } }) => address)
    .filter((address) => address.family === 6 && !isMulticast(address) && !isLinkLocal(address));
}

/** Of either family, IPv4 first. */
export function addressesOf(link: string, addresses: readonly LinkAddress[]): readonly Address[] {
  return [...ipv4Of(link, addresses), ...ipv6Of(link, addresses)];
}

/** Default routes of a family to a link, the one that the kernel prefers first. */
export function defaultRoutes(
  routes: readonly KernelRoute[],
  family: Family = 4,
): readonly (KernelRoute & { readonly link: string })[] {
  return routes
    .filter(
      (route): route is KernelRoute & { readonly link: string } =>
        route.destination.length === 0 &&
        route.destination.address.family === family &&
        route.link !== undefined &&
        route.unicast,
    )
    .toSorted((a, b) => a.metric - b.metric);
}

/** For people: `eth0 (192.0.2.1, default route), eth1 (10.9.0.3), wlan0`. @param besides only links that could be taken in this one's place */
export function describeLinks(
  {
    links,
    addresses,
    routes,
  }: {
    readonly links: readonly Link[];
    readonly addresses: readonly LinkAddress[];
    readonly routes: readonly KernelRoute[];
  },
  besides?: string,
): string {
  const defaults = defaultRoutes(routes);
  return links
    .filter(
      (link) =>
        besides === undefined ||
        (link.name !== besides && isUnderlay(link) && addressesOf(link.name, addresses).length > 0),
    )
    .map(({ name }) => {
      const [address] = addressesOf(name, addresses);
      const route = defaults.find(({ link }) => link === name);
      const metric = route === undefined || route.metric === 0 ? "" : ` with metric ${route.metric}`;
      const facts = [
        ...(address === undefined ? [] : [formatAddress(address)]),
        ...(route === undefined || besides === undefined ? [] : [`default route${metric}`]),
      ];
      return facts.length === 0 ? name : `${name} (${facts.join(", ")})`;
    })
    .join(", ");
}
