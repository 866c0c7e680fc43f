import { type Address, type Family, isLinkLocal, tryParseAddress } from "../ip/address.ts";
import { InvalidConfigError } from "../lib/errors.ts";

/** How the interface to the other hosts is picked: the first rule that finds one. None of the first three: see `publicIP`, then the default route. */
export interface InterfaceRules {
  /** `--iface`: names, or addresses that an interface has. */
  readonly ifaces: readonly string[];
  /** `--iface-regex`: of addresses, then of names. */
  readonly patterns: readonly InterfacePattern[];
  /** `--iface-can-reach`: whichever packets to this address leave by. */
  readonly canReach: Address | undefined;
  /** `--public-ip`: what others reach us by, if it is not the interface's address. IPv4. */
  readonly publicIP: Address | undefined;
  /** `--public-ipv6`: the same in IPv6. */
  readonly publicIPv6: Address | undefined;
}

export interface InterfacePattern {
  /** As it was given. */
  readonly text: string;
  readonly expression: RegExp;
}

export const DEFAULT_ROUTE_ONLY: InterfaceRules = {
  ifaces: [],
  patterns: [],
  canReach: undefined,
  publicIP: undefined,
  publicIPv6: undefined,
};

/** The texts of the options; empty ones were not given. */
export interface InterfaceTexts {
  /** Each may name several, separated by commas. */
  readonly ifaces: readonly string[];
  readonly patterns: readonly string[];
  readonly canReach: string;
  readonly publicIP: string;
  readonly publicIPv6: string;
}

/** @throws {InvalidConfigError} naming the option */
export function parseInterfaceRules({
  ifaces,
  patterns,
  canReach,
  publicIP,
  publicIPv6,
}: InterfaceTexts): InterfaceRules {
  return {
    ifaces: ifaces.flatMap((text) => text.split(",").flatMap((name) => name.trim() || [])),
    patterns: patterns.filter((text) => text !== "").map(parsePattern),
    canReach: parseOne("--iface-can-reach", canReach, [4, 6], "must be the address of another host"),
    publicIP: parseOne("--public-ip", publicIP, [4], "invalid public IP address"),
    publicIPv6: parseOne("--public-ipv6", publicIPv6, [6], "invalid public IPv6 address"),
  };
}

function parseOne(option: string, text: string, families: readonly Family[], wrong: string): Address | undefined {
  if (text === "") return undefined;
  const address = tryParseAddress(text);
  if (address !== undefined && families.includes(address.family) && !(address.family === 6 && isLinkLocal(address)))
    return address;
  const kind = families.length > 1 ? "IP" : `IPv${families[0]}`;
  throw new InvalidConfigError(option, `${wrong}: ${text} (not ${kind === "IP" ? "a global" : "an"} ${kind} address)`);
}

/** What Go's regular expressions know and ours take for something else, which would silently match another interface. */
const GO_ONLY = /\[\[:|\\[AzQEpP]|\(\?P</;

/** Flags that Go writes in front: `(?i)`. */
const LEADING_FLAGS = /^\(\?([ims]+)\)/;

function parsePattern(text: string): InterfacePattern {
  const unknown = GO_ONLY.exec(text)?.[0];
  if (unknown !== undefined)
    throw new InvalidConfigError("--iface-regex", `${unknown} is not understood in ${JSON.stringify(text)}`);
  const flags = LEADING_FLAGS.exec(text)?.[1] ?? "";
  try {
    const expression = new RegExp(text.replace(LEADING_FLAGS, ""), [...new Set(flags)].join(""));
    return { text, expression };
  } catch (cause) {
    throw new InvalidConfigError("--iface-regex", cause instanceof Error ? cause.message : String(cause), { cause });
  }
}
