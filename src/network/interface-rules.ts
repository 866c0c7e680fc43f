import { type Address, tryParseAddress } from "../ip/address.ts";
import { InvalidConfigError } from "../lib/errors.ts";

/** How the interface to the other hosts is picked: the first rule that finds one. None of the first three: see `publicIP`, then the default route. */
export interface InterfaceRules {
  /** `--iface`: names, or addresses that an interface has. */
  readonly ifaces: readonly string[];
  /** `--iface-regex`: of addresses, then of names. */
  readonly patterns: readonly InterfacePattern[];
  /** `--iface-can-reach`: whichever packets to this address leave by. IPv4. */
  readonly canReach: Address | undefined;
  /** `--public-ip`: what others reach us by, if it is not the interface's address. IPv4. */
  readonly publicIP: Address | undefined;
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
};

/** The texts of the options; empty ones were not given. */
export interface InterfaceTexts {
  /** Each may name several, separated by commas. */
  readonly ifaces: readonly string[];
  readonly patterns: readonly string[];
  readonly canReach: string;
  readonly publicIP: string;
}

/** @throws {InvalidConfigError} naming the option */
export function parseInterfaceRules({ ifaces, patterns, canReach, publicIP }: InterfaceTexts): InterfaceRules {
  return {
    ifaces: ifaces.flatMap((text) => text.split(",").flatMap((name) => name.trim() || [])),
    patterns: patterns.filter((text) => text !== "").map(parsePattern),
    canReach: ipv4("--iface-can-reach", canReach, "must be the IPv4 address of another host"),
    publicIP: ipv4("--public-ip", publicIP, "invalid public IP address"),
  };
}

function ipv4(option: string, text: string, wrong: string): Address | undefined {
  if (text === "") return undefined;
  const address = tryParseAddress(text);
  if (address?.family === 4) return address;
  throw new InvalidConfigError(option, `${wrong}: ${text} (not an IPv4 address)`);
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
