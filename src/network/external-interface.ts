import { type Address, equalAddress, formatAddress, isLinkLocal } from "../ip/address.ts";
import type { Kernel, KernelRoute, Link, LinkAddress, RouteLookup } from "../kernel/kernel.ts";
import type { Abortable } from "../lib/abortable.ts";
import { InvalidConfigError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import { addressesOf, defaultRoutes, describeLinks, ipv4Of, ipv6Of, isUnderlay } from "./host-links.ts";
import type { InterfacePattern, InterfaceRules } from "./interface-rules.ts";
import type { UnderlayInterface } from "./underlay-interface.ts";

/** The interface that was picked, and how. */
export interface ChosenInterface extends UnderlayInterface {
  /** The rule that picked it: `--iface=eth1`, `default route`. */
  readonly rule: string;
  /** What else was possible: `eth1 (192.0.2.7), wlan0 (10.9.0.3, default route with metric 600)`; empty if nothing. */
  readonly others: string;
  /** Rules that came before and found nothing, and why. */
  readonly passed: readonly string[];
}

/** What a host has, as far as its interface to the others may depend on it. */
export interface HostLinks {
  readonly links: readonly Link[];
  readonly addresses: readonly LinkAddress[];
  readonly routes: readonly KernelRoute[];
  /** How packets to `canReach` leave, if that is asked and they do. */
  readonly lookup: RouteLookup | undefined;
}

export async function readHostLinks(kernel: Kernel, rules: InterfaceRules, options: Abortable): Promise<HostLinks> {
  const { canReach } = rules;
  const [links, addresses, routes, lookup] = await Promise.all([
    kernel.listLinks(options),
    kernel.listAddresses(options),
    kernel.listRoutes(options),
    canReach === undefined ? undefined : kernel.routeTo(canReach, options),
  ]);
  return { links, addresses, routes, lookup };
}

/** @throws {InvalidConfigError} naming the option, with what there is instead, if no rule finds one */
export async function chooseExternalInterface(
  kernel: Kernel,
  rules: InterfaceRules,
  options: Abortable,
): Promise<ChosenInterface> {
  return selectExternalInterface(rules, await readHostLinks(kernel, rules, options));
}

/** Says which interface is used, by which rule, and what else there was. */
export function reportChoice(chosen: ChosenInterface, logger: Logger): void {
  const { link, address, publicIP, ipv6, rule, others, passed } = chosen;
  for (const reason of passed) logger.info("no interface by this rule; the next one is asked", { reason });
  const also = others === "" ? {} : { others };
  const second = ipv6 === undefined ? {} : { ipv6: ipv6.address, publicIPv6: ipv6.publicIP };
  logger.info("using interface", { name: link.name, address, publicIP, ...second, rule, ...also });
}

/** A rule, and the name of the link it picks with the address, if that is settled too. */
interface Rule {
  readonly title: string;
  /** @throws {InvalidConfigError} saying why it finds none */
  readonly find: () => { readonly name: string; readonly address?: Address | undefined };
}

/** The same on what the host has. Pure. */
export function selectExternalInterface(rules: InterfaceRules, host: HostLinks): ChosenInterface {
  const passed: InvalidConfigError[] = [];
  for (const { title, find } of rulesOf(rules, host)) {
    try {
      const { name, address } = find();
      const underlay = usable(title, name, address, { rules, host });
      const others = describeLinks(host, name);
      const reasons = passed.map(({ message }) => message);
      return { ...underlay, rule: title, others, passed: reasons };
    } catch (error) {
      if (!(error instanceof InvalidConfigError)) throw error;
      passed.push(error);
    }
  }
  const [only, ...more] = passed;
  if (only !== undefined && more.length === 0) throw only;
  throw new InvalidConfigError("", `no interface will do: ${passed.map(({ message }) => message).join("; ")}`);
}

function rulesOf(
  { ifaces, patterns, canReach, publicIP, publicIPv6 }: InterfaceRules,
  host: HostLinks,
): readonly Rule[] {
  const named: readonly Rule[] = [
    ...ifaces.map((iface) => ({ title: `--iface=${iface}`, find: () => byName(iface, host) })),
    ...patterns.map((pattern) => ({ title: `--iface-regex=${pattern.text}`, find: () => byPattern(pattern, host) })),
    ...(canReach === undefined
      ? []
      : [{ title: `--iface-can-reach=${formatAddress(canReach)}`, find: () => byReach(canReach, host) }]),
  ];
  if (named.length > 0) return named;
  // As in later releases; an address that no interface has is that of a NAT.
  for (const [option, address] of [["--public-ip", publicIP] as const, ["--public-ipv6", publicIPv6] as const]) {
    const owner = address === undefined ? undefined : ownerOf(address, host);
    if (address !== undefined && owner !== undefined)
      return [{ title: `${option}=${formatAddress(address)}`, find: () => ({ name: owner, address }) }];
  }
  return [{ title: "default route", find: () => byDefaultRoute(host) }];
}

function byName(iface: string, host: HostLinks): ReturnType<Rule["find"]> {
  const address = host.addresses.find(({ address }) => formatAddress(address.address) === iface)?.address.address;
  const owner = address === undefined ? undefined : ownerOf(address, host);
  if (owner !== undefined) return { name: owner, address };
  if (/^[\d.]+$|:/.test(iface))
    throw new InvalidConfigError("--iface", `no interface has the address ${iface}; there are ${describeLinks(host)}`);
  return { name: iface };
}

function byPattern({ text, expression }: InterfacePattern, host: HostLinks): ReturnType<Rule["find"]> {
  const links = host.links.filter(isUnderlay);
  for (const { name } of links) {
    const address = addressesOf(name, host.addresses).find((candidate) => expression.test(formatAddress(candidate)));
    if (address !== undefined) return { name, address };
  }
  const link = links.find(({ name }) => expression.test(name) && addressesOf(name, host.addresses).length > 0);
  if (link !== undefined) return { name: link.name };
  throw new InvalidConfigError(
    "--iface-regex",
    `no interface has an address or a name like ${JSON.stringify(text)}; there are ${describeLinks(host)}`,
  );
}

function byReach(address: Address, host: HostLinks): ReturnType<Rule["find"]> {
  const own = ownerOf(address, host);
  if (own !== undefined)
    throw new InvalidConfigError("--iface-can-reach", `${formatAddress(address)} is this host's own, of ${own}`);
  if (host.lookup?.link === undefined)
    throw new InvalidConfigError("--iface-can-reach", `there is no route to ${formatAddress(address)}`);
  return { name: host.lookup.link, address: host.lookup.source };
}

function byDefaultRoute({ links, addresses, routes }: HostLinks): ReturnType<Rule["find"]> {
  // Where there is IPv4 its own route must tell: the other family may lead elsewhere.
  const hasIPv4 = links.some((link) => isUnderlay(link) && globalIPv4Of(link.name, addresses).length > 0);
  const [best] = defaultRoutes(routes, hasIPv4 ? 4 : 6);
  if (best !== undefined) return { name: best.link };
  throw new InvalidConfigError(
    "--iface",
    "there is no default route to tell which interface leads to the other hosts; name one",
  );
}

/** @throws {InvalidConfigError} if there is no such link, or it cannot carry packets to other hosts */
function usable(
  title: string,
  name: string,
  chosen: Address | undefined,
  { rules, host }: { readonly rules: InterfaceRules; readonly host: HostLinks },
): UnderlayInterface {
  const option = title.startsWith("--") ? title.replace(/=.*$/s, "") : "--iface";
  const link = host.links.find((candidate) => candidate.name === name);
  if (link === undefined)
    throw new InvalidConfigError(
      option,
      `no interface is named ${JSON.stringify(name)}; there are ${describeLinks(host)}`,
    );
  const ipv4 = chosen?.family === 4 ? chosen : ipv4Besides(chosen, name, host.addresses);
  const ipv6 = pickIPv6(name, host.addresses, rules, chosen);
  if (link.mtu === 0) throw new InvalidConfigError(option, `interface ${name} has an MTU of 0`);
  if (ipv4 !== undefined) return { link, address: ipv4, publicIP: rules.publicIP ?? ipv4, ipv6 };
  if (ipv6 === undefined)
    throw new InvalidConfigError(option, `interface ${name} has no IPv4 address, nor a global one of IPv6`);
  return { link, ...ipv6 };
}

/** A link that was named by its IPv6 address is not known by a link-local one of IPv4. */
function ipv4Besides(
  chosen: Address | undefined,
  link: string,
  addresses: readonly LinkAddress[],
): Address | undefined {
  return chosen === undefined ? ipv4Of(link, addresses)[0] : globalIPv4Of(link, addresses)[0];
}

function globalIPv4Of(link: string, addresses: readonly LinkAddress[]): readonly Address[] {
  return ipv4Of(link, addresses).filter((address) => !isLinkLocal(address));
}

/** The link's IPv6 address: the one chosen, or `--public-ipv6`, if it has it, else its first. */
export function pickIPv6(
  link: string,
  addresses: readonly LinkAddress[],
  { publicIPv6 }: InterfaceRules,
  chosen?: Address,
): UnderlayInterface["ipv6"] {
  const there = ipv6Of(link, addresses);
  const isThere = (address: Address | undefined) => there.find((each) => address && equalAddress(each, address));
  const address = (chosen?.family === 6 ? chosen : undefined) ?? isThere(publicIPv6) ?? there[0];
  return address && { address, publicIP: publicIPv6 ?? address };
}

function ownerOf(wanted: Address, { addresses }: HostLinks): string | undefined {
  return addresses.find(({ address }) => equalAddress(address.address, wanted))?.link;
}
