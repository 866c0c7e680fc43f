import { networkInterfaces } from "node:os";
import { type Address, addToAddress } from "../ip/address.ts";
import { firstAddress, lastAddress, overlaps, type Prefix, parsePrefix } from "../ip/prefix.ts";
import { InvalidConfigError } from "../lib/errors.ts";

/** Lower-case letters and digits only: `fl-<lab>-` must not be the beginning of another lab's namespaces. */
export type LabName = string & { readonly __brand: "LabName" };

/** @throws {InvalidConfigError} if it could not stand in the name of a namespace */
export function parseLabName(text: string): LabName {
  if (!/^[a-z][a-z0-9]{0,15}$/.test(text))
    throw new InvalidConfigError(
      "name",
      `a lab's name is 1 to 16 lower-case letters and digits, a letter first, not ${JSON.stringify(text)}`,
    );
  return text as LabName;
}

/** Every namespace of the lab begins so, and no other. */
export function namespacePrefix(lab: LabName): string {
  return `fl-${lab}-`;
}

export function switchNamespace(lab: LabName): string {
  return `${namespacePrefix(lab)}switch`;
}

export function hostNamespace(lab: LabName, host: string): string {
  return `${namespacePrefix(lab)}${host}`;
}

export function podNamespace(lab: LabName, host: string, pod: string): string {
  return `${hostNamespace(lab, host)}-${pod}`;
}

/** The switch has the underlay's last address: it is the hosts' default gateway, and a real store listens there. */
export function switchAddress(underlay: Prefix): Address {
  return addToAddress(lastAddress(underlay), -1n);
}

/**
 * A bridge that is given none takes the lowest of its ports': with one port more it may be another, and whoever knew the former one
 * reaches it no more for some 20 s.
 */
export const BRIDGE_MAC = "02:00:00:00:ff:ff";

/** Host 1 has the underlay's first address. @throws {InvalidConfigError} if the underlay holds no more */
export function hostAddress(underlay: Prefix, number: number): Address {
  const address = addToAddress(firstAddress(underlay), BigInt(number));
  const gateway = switchAddress(underlay);
  if (address.value >= gateway.value)
    throw new InvalidConfigError(
      "hosts",
      `a lab has room for ${gateway.value - firstAddress(underlay).value - 1n} hosts`,
    );
  return address;
}

/** The hosts' own network in IPv6, where a lab has it: host 7 is fd00:77::7. */
export const IPV6_UNDERLAY: Prefix = parsePrefix("fd00:77::/64");

const UNDERLAYS = ["192.168.77.0/24", "172.30.77.0/24", "10.77.77.0/24", "198.18.77.0/24"].map(parsePrefix);

/** The first usual range that touches none of `taken`. */
export function chooseUnderlay(taken: readonly Prefix[]): Prefix {
  const free = UNDERLAYS.find((underlay) => !taken.some((prefix) => overlaps(prefix, underlay)));
  if (free === undefined)
    throw new InvalidConfigError("network", "leaves none of the lab's ranges free for its hosts' own addresses");
  return free;
}

/** The networks of this machine's interfaces: hosts that looked like the machine's neighbours would confuse people. */
export function machineNetworks(): readonly Prefix[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .flatMap(({ cidr }) => (cidr === null || cidr.includes(":") ? [] : [parsePrefix(cidr)]));
}
