import { type Family, formatAddress } from "../../ip/address.ts";
import { type AddressMatch, type ChainPurpose, type FirewallRule, NFT_PEERS, NFT_REFUSED } from "./rule.ts";

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
/** NF_IP_PRI_MANGLE */
const MANGLE = -150;

/** Undefined for what nftables cannot do in a chain of ours: an accept there ends nobody else's chain. */
export function nftHook(purpose: ChainPurpose): NftHook | undefined {
  if (purpose === "masquerade") return { type: "nat", hook: "postrouting", prio: SOURCE_NAT, policy: "accept" };
  if (purpose === "clamp") return { type: "filter", hook: "forward", prio: MANGLE, policy: "accept" };
  // A drop is final wherever it is: before others', so that what is refused costs least. Whole packets only come to this hook.
  if (purpose === "underlay") return { type: "filter", hook: "input", prio: -10, policy: "accept" };
  return undefined;
}

/** Where the network's number stands after a UDP header begins, and how long it is. Bits; RFC 7348 §5. */
const VNI_OFFSET = 96;
const VNI_LENGTH = 24;

/** The statements of a rule, as nft lists them. */
export function nftExpression(rule: FirewallRule, family: Family): readonly NftJson[] {
  const { source, destination, mark, vxlan, fromPeer, verdict } = rule;
  const statements: NftJson[] = [];
  if (vxlan !== undefined) {
    statements.push(match("==", { payload: { protocol: "udp", field: "dport" } }, vxlan.port));
    statements.push(match("==", { payload: { base: "th", offset: VNI_OFFSET, len: VNI_LENGTH } }, vxlan.vni));
  }
  if (fromPeer)
    statements.push(match("==", { payload: { protocol: nftFamily(family), field: "saddr" } }, `@${NFT_PEERS}`));
  if (mark !== undefined) statements.push(match("==", { "&": [{ meta: { key: "mark" } }, mark.mask] }, mark.value));
  if (source !== undefined) statements.push(addressMatch("saddr", source));
  if (destination !== undefined) statements.push(addressMatch("daddr", destination));
  if (verdict === "clamp") statements.push(match("==", { "&": [TCP_FLAGS, ["syn", "rst"]] }, "syn"));
  statements.push({ counter: verdict === "drop" ? NFT_REFUSED : { packets: 0, bytes: 0 } });
  if (verdict === "clamp") statements.push(SEGMENT_SIZE_BY_ROUTE);
  else if (verdict === "masquerade") statements.push({ masquerade: { flags: "fully-random" } });
  else statements.push({ [verdict]: null });
  return statements;
}

const TCP_FLAGS: NftJson = { payload: { protocol: "tcp", field: "flags" } };
/** The kernel takes the smaller route of the two directions, subtracts the headers, and never raises what was asked for. */
const SEGMENT_SIZE_BY_ROUTE: NftJson = {
  mangle: { key: { "tcp option": { name: "maxseg", field: "size" } }, value: { rt: { key: "mtu" } } },
};

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
