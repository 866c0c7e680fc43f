import { type Family, formatAddress } from "../../ip/address.ts";
import type { AddressMatch, ChainPurpose, FirewallRule } from "./rule.ts";

/** Any value of JSON, as nft(8) writes and reads it: libnftables-json(5). */
export type NftJson = string | number | boolean | null | readonly NftJson[] | { readonly [key: string]: NftJson };

/** How a base chain hangs in a packet's way. */
export interface NftHook {
  readonly type: string;
  readonly hook: string;
  readonly prio: number;
  readonly policy: string;
}

/** nftables' table family of our tables: one per address family, as every kernel with nftables has it. */
export function nftFamily(family: Family): "ip" | "ip6" {
  return family === 4 ? "ip" : "ip6";
}

/** NF_IP_PRI_NAT_SRC */
const SOURCE_NAT = 100;

/** Undefined for what nftables cannot do in a chain of ours: an accept there ends nobody else's chain. */
export function nftHook(purpose: ChainPurpose): NftHook | undefined {
  return purpose === "masquerade"
    ? { type: "nat", hook: "postrouting", prio: SOURCE_NAT, policy: "accept" }
    : undefined;
}

/** The statements of a rule, as nft lists them. */
export function nftExpression({ source, destination, mark, verdict }: FirewallRule): readonly NftJson[] {
  const statements: NftJson[] = [];
  if (mark !== undefined) statements.push(match("==", { "&": [{ meta: { key: "mark" } }, mark.mask] }, mark.value));
  if (source !== undefined) statements.push(addressMatch("saddr", source));
  if (destination !== undefined) statements.push(addressMatch("daddr", destination));
  statements.push({ counter: { packets: 0, bytes: 0 } });
  statements.push(verdict === "masquerade" ? { masquerade: { flags: "fully-random" } } : { [verdict]: null });
  return statements;
}

function addressMatch(field: "saddr" | "daddr", { prefix, negated }: AddressMatch): NftJson {
  const { address, length } = prefix;
  const protocol = nftFamily(address.family);
  const whole = length === (address.family === 4 ? 32 : 128);
  const addr = formatAddress(address);
  return match(
    negated ? "!=" : "==",
    { payload: { protocol, field } },
    whole ? addr : { prefix: { addr, len: length } },
  );
}

function match(op: "==" | "!=", left: NftJson, right: NftJson): NftJson {
  return { match: { op, left, right } };
}

/** A listed rule's statements as text that stays the same while packets are counted. */
export function stableText(expression: NftJson): string {
  return JSON.stringify(expression, (key, value) => (key === "counter" && typeof value === "object" ? {} : value));
}
