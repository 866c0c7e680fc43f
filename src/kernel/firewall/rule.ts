import { formatAddress } from "../../ip/address.ts";
import { formatPrefix, type Prefix } from "../../ip/prefix.ts";

/** What a chain of ours is for, and with that where in a packet's way it stands. */
export type ChainPurpose = "masquerade" | "forward" | "clamp" | "underlay";

/**
 * A chain of ours with its rules in order: one row, since rules mean something only together and in their order. Listed rows carry in
 * `listed` what the host has instead of rules.
 */
export interface FirewallChain {
  readonly purpose: ChainPurpose;
  readonly rules: readonly FirewallRule[];
  /** Only in listed rows: the way into the chain and its rules, as the host's program writes them. */
  readonly listed?: readonly string[];
}

/** The first rule that matches decides. Conditions that are left out match everything. */
export interface FirewallRule {
  readonly source?: AddressMatch;
  readonly destination?: AddressMatch;
  readonly mark?: MarkMatch;
  readonly vxlan?: VxlanMatch;
  /** The source is one of the network's peers, a set that is kept beside the rules. */
  readonly fromPeer?: true;
  /**
   * `return`: other programs' rules decide. `drop` is counted. `clamp` decides nothing: a TCP connection that begins agrees on segments
   * that fit through both ends' routes.
   */
  readonly verdict: "accept" | "return" | "masquerade" | "drop" | "clamp";
}

/** A packet of one vxlan network: both say which, since several share a port. */
export interface VxlanMatch {
  /** UDP destination port. */
  readonly port: number;
  readonly vni: number;
}

/** Inside the prefix or, negated, outside of it. */
export interface AddressMatch {
  readonly prefix: Prefix;
  readonly negated?: true;
}

/** The bits of the packet's mark that `mask` names are those of `value`. */
export interface MarkMatch {
  readonly value: number;
  readonly mask: number;
}

export function inside(prefix: Prefix): AddressMatch {
  return { prefix };
}

export function outside(prefix: Prefix): AddressMatch {
  return { prefix, negated: true };
}

/** As iptables would say it, without the chain: `-s 10.5.3.0/24 -d 10.5.0.0/16 -j RETURN`. */
export function formatRule(rule: FirewallRule): string {
  const { source, destination, mark, vxlan, fromPeer, verdict } = rule;
  const words: string[] = [];
  if (vxlan !== undefined) words.push(`-p udp --dport ${vxlan.port} vni ${vxlan.vni}`);
  if (fromPeer) words.push("from peers");
  if (source !== undefined) words.push(formatMatch("-s", source));
  if (destination !== undefined) words.push(formatMatch("-d", destination));
  if (mark !== undefined) words.push(`-m mark --mark ${hex(mark.value)}/${hex(mark.mask)}`);
  words.push(verdict === "clamp" ? CLAMP : `-j ${verdict.toUpperCase()}`);
  return words.join(" ");
}

const CLAMP = "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu";

/** `! -s 10.5.0.0/16` */
export function formatMatch(option: string, { prefix, negated }: AddressMatch): string {
  return `${negated ? "! " : ""}${option} ${formatPrefix(prefix)}`;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** Characters of a chain's name: XT_EXTENSION_MAXNAMELEN less the NUL, linux/netfilter/x_tables.h. */
const LONGEST_CHAIN = 28;

/** The chain in iptables: `FLANNEL-M-10.5.0.0-16`; a Network too long for a name is told by a hash. */
export function xtablesChainName(purpose: ChainPurpose, network: Prefix): string {
  const head = `FLANNEL-${purpose.charAt(0).toUpperCase()}-`;
  const readable = `${head}${identifier(network)}`;
  return readable.length <= LONGEST_CHAIN ? readable : head + fnv(formatPrefix(network));
}

/** Characters of a set's name: IPSET_MAXNAMELEN less the NUL, linux/netfilter/ipset/ip_set.h. */
const LONGEST_SET = 31;

/** The set of a network's peers that iptables matches: `flannel-10.5.0.0-16`; a Network too long for a name is told by a hash. */
export function ipsetName(network: Prefix): string {
  const readable = nftTableName(network);
  return readable.length <= LONGEST_SET ? readable : `flannel-${fnv(formatPrefix(network))}`;
}

/** Whether {@link ipsetName} makes such names. */
export function isIpsetName(name: string): boolean {
  return /^flannel-(?:[\da-f_.]+-\d{1,3}|[\da-f]{16})$/.test(name);
}

/** Our chains in nftables; a name that nft(8) knows as a word could not be typed. */
export const NFT_CHAINS: Readonly<Record<ChainPurpose, string>> = {
  masquerade: "postrouting",
  forward: "forward",
  clamp: "clamp",
  underlay: "input",
};

export const CHAIN_PURPOSES = Object.keys(NFT_CHAINS) as readonly ChainPurpose[];

/** In our table of nftables: the set of the network's peers, and the count of what was refused. */
export const NFT_PEERS = "peers";
export const NFT_REFUSED = "refused";

/** The nftables table of a network: `flannel-10.5.0.0-16`. */
export function nftTableName(network: Prefix): string {
  return `flannel-${identifier(network)}`;
}

/** Colons mean something to nft(8). */
function identifier({ address, length }: Prefix): string {
  return `${formatAddress(address).replaceAll(":", "_")}-${length}`;
}

/** FNV-1a, 64 bits, in hexadecimal. */
function fnv(text: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of Buffer.from(text)) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffff_ffff_ffff_ffffn;
  return hash.toString(16).padStart(16, "0");
}

/** What two rows have in common and what differs; the same for every program. */
export const firewallChains = {
  key: (row: FirewallChain) => row.purpose,
  format: (row: FirewallChain) =>
    row.listed === undefined
      ? `${row.purpose}: ${row.rules.map(formatRule).join("; ")}`
      : `${row.purpose}: ${row.listed.length === 0 ? "no rules" : row.listed.join("; ")}`,
};
