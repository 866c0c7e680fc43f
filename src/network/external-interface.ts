import type { ExternalInterface } from "../backend/backend.ts";
import { type Address, equalAddress, formatAddress } from "../ip/address.ts";
import type { Kernel, KernelRoute, Link, LinkAddress, RouteLookup } from "../kernel/kernel.ts";
import type { Abortable } from "../lib/abortable.ts";
import { InvalidConfigError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import { defaultRoutes, describeLinks, ipv4Of, isUnderlay } from "./host-links.ts";
import type { InterfacePattern, InterfaceRules } from "./interface-rules.ts";

/** The interface that was picked, and how. */
export interface ChosenInterface extends ExternalInterface {
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
export function reportChoice({ link, address, publicIP, rule, others, passed }: ChosenInterface, logger: Logger): void {
  for (const reason of passed) logger.info("no interface by this rule; the next one is asked", { reason });
  const also = others === "" ? {} : { others };
  logger.info("using interface", { name: link.name, address, publicIP, rule, ...also });
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
      const external = usable(title, name, address, host);
      const others = describeLinks(host, name);
      const reasons = passed.map(({ message }) => message);
      return { ...external, publicIP: rules.publicIP ?? external.address, rule: title, others, passed: reasons };
    } catch (error) {
      if (!(error instanceof InvalidConfigError)) throw error;
      passed.push(error);
    }
  }
  const [only, ...more] = passed;
  if (only !== undefined && more.length === 0) throw only;
  throw new InvalidConfigError("", `no interface will do: ${passed.map(({ message }) => message).join("; ")}`);
}

function rulesOf({ ifaces, patterns, canReach, publicIP }: InterfaceRules, host: HostLinks): readonly Rule[] {
  const named: readonly Rule[] = [
    ...ifaces.map((iface) => ({ title: `--iface=${iface}`, find: () => byName(iface, host) })),
    ...patterns.map((pattern) => ({ title: `--iface-regex=${pattern.text}`, find: () => byPattern(pattern, host) })),
    ...(canReach === undefined
      ? []
      : [{ title: `--iface-can-reach=${formatAddress(canReach)}`, find: () => byReach(canReach, host) }]),
  ];
  if (named.length > 0) return named;
  // As in later releases; an address that no interface has is that of a NAT.
  const owner = publicIP === undefined ? undefined : ownerOf(publicIP, host);
  if (publicIP !== undefined && owner !== undefined)
    return [{ title: `--public-ip=${formatAddress(publicIP)}`, find: () => ({ name: owner, address: publicIP }) }];
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
    const address = ipv4Of(name, host.addresses).find((candidate) => expression.test(formatAddress(candidate)));
    if (address !== undefined) return { name, address };
  }
  const link = links.find(({ name }) => expression.test(name) && ipv4Of(name, host.addresses).length > 0);
  if (link !== undefined) return { name: link.name };
  throw new InvalidConfigError(
    "--iface-regex",
    `no interface has an IPv4 address or a name like ${JSON.stringify(text)}; there are ${describeLinks(host)}`,
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

function byDefaultRoute({ routes }: HostLinks): ReturnType<Rule["find"]> {
  const [best] = defaultRoutes(routes);
  if (best !== undefined) return { name: best.link };
  throw new InvalidConfigError(
    "--iface",
    "there is no default route to tell which interface leads to the other hosts; name one",
  );
}

/** @throws {InvalidConfigError} if there is no such link, or it cannot carry packets to other hosts */
function usable(title: string, name: string, chosen: Address | undefined, host: HostLinks) {
  const option = title.startsWith("--") ? title.replace(/=.*$/s, "") : "--iface";
  const link = host.links.find((candidate) => candidate.name === name);
  if (link === undefined)
    throw new InvalidConfigError(
      option,
      `no interface is named ${JSON.stringify(name)}; there are ${describeLinks(host)}`,
    );
  const address = chosen ?? ipv4Of(name, host.addresses)[0];
  if (address === undefined) throw new InvalidConfigError(option, `interface ${name} has no IPv4 address`);
  if (address.family !== 4)
    throw new InvalidConfigError(
      option,
      `${formatAddress(address)} is an IPv6 address: this build has IPv4 underlays only`,
    );
  if (link.mtu === 0) throw new InvalidConfigError(option, `interface ${name} has an MTU of 0`);
  return { link, address };
}

function ownerOf(wanted: Address, { addresses }: HostLinks): string | undefined {
  return addresses.find(({ address }) => equalAddress(address.address, wanted))?.link;
}
