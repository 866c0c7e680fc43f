import type { ExternalInterface } from "../backend/backend.ts";
import { type Address, equalAddress, formatAddress, isLinkLocal, isMulticast, tryParseAddress } from "../ip/address.ts";
import type { Kernel, KernelRoute, Link, LinkAddress } from "../kernel/kernel.ts";
import type { Abortable } from "../lib/abortable.ts";
import { InvalidConfigError } from "../lib/errors.ts";

export interface InterfaceChoice {
  /** `--iface`: a name or one of the link's addresses; undefined for the default route's link. */
  readonly iface: string | undefined;
  /** `--public-ip`; undefined for the link's address. */
  readonly publicIP: Address | undefined;
}

/** @throws {InvalidConfigError} naming `--iface` if there is no such link, it has no IPv4 address, or there is no default route */
export async function chooseExternalInterface(
  kernel: Kernel,
  choice: InterfaceChoice,
  options: Abortable,
): Promise<ExternalInterface> {
  const [links, addresses, routes] = await Promise.all([
    kernel.listLinks(options),
    kernel.listAddresses(options),
    kernel.listRoutes(options),
  ]);
  return selectExternalInterface(choice, links, addresses, routes);
}

/** The same on what the kernel has. Pure. */
export function selectExternalInterface(
  { iface, publicIP }: InterfaceChoice,
  links: readonly Link[],
  addresses: readonly LinkAddress[],
  routes: readonly KernelRoute[],
): ExternalInterface {
  const wanted = iface === undefined ? undefined : tryParseAddress(iface);
  const name =
    iface === undefined
      ? defaultRouteLink(routes)
      : wanted === undefined
        ? iface
        : addresses.find(({ address }) => equalAddress(address.address, wanted))?.link;
  if (name === undefined)
    throw new InvalidConfigError(
      "--iface",
      `no interface has the address ${iface}; there are ${describe(links, addresses)}`,
    );
  const link = links.find((candidate) => candidate.name === name);
  if (link === undefined)
    throw new InvalidConfigError(
      "--iface",
      `no interface is named ${JSON.stringify(name)}; there are ${describe(links, addresses)}`,
    );
  const address = wanted ?? ipv4Of(name, addresses);
  if (address === undefined) throw new InvalidConfigError("--iface", `interface ${name} has no IPv4 address`);
  if (address.family !== 4)
    throw new InvalidConfigError(
      "--iface",
      `${formatAddress(address)} is an IPv6 address: this build has IPv4 underlays only`,
    );
  if (link.mtu === 0) throw new InvalidConfigError("--iface", `interface ${name} has an MTU of 0`);
  return { link, address, publicIP: publicIP ?? address };
}

function defaultRouteLink(routes: readonly KernelRoute[]): string {
  const defaults = routes
    .filter(
      ({ destination, link, unicast }) =>
        destination.length === 0 && destination.address.family === 4 && link !== undefined && unicast,
    )
    .toSorted((a, b) => a.metric - b.metric);
  const link = defaults[0]?.link;
  if (link === undefined)
    throw new InvalidConfigError(
      "--iface",
      "there is no default route to tell which interface leads to the other hosts; name one",
    );
  return link;
}

/** A global address before a link-local one, in the kernel's order. */
function ipv4Of(link: string, addresses: readonly LinkAddress[]): Address | undefined {
  const ipv4 = addresses
    .filter((candidate) => candidate.link === link)
    .map((candidate) => candidate.address.address)
    .filter((address) => address.family === 4 && !isMulticast(address));
  return ipv4.find((address) => !isLinkLocal(address)) ?? ipv4[0];
}

function describe(links: readonly Link[], addresses: readonly LinkAddress[]): string {
  return links
    .map(({ name }) => {
      const address = ipv4Of(name, addresses);
      return address === undefined ? name : `${name} (${formatAddress(address)})`;
    })
    .join(", ");
}
