import { type Address, formatAddress } from "../../ip/address.ts";
import { type Prefix, parsePrefix } from "../../ip/prefix.ts";
import type { Arena } from "../../lib/arena.ts";
import type { IpPacket } from "../../wire/packet/ip-packet.ts";
import { DROP_REASONS, type DropReason } from "./drop-reason.ts";
import { buildPrefixIndex, NONE, type PrefixEntry, PrefixIndex, type PrefixIndexData } from "./prefix-index.ts";
import { sourceRanges } from "./source-ranges.ts";

/** One subnet of another host. */
export interface Peer {
  readonly subnet: Prefix;
  /** IPv4: where to send, and where packets must come from. */
  readonly publicIP: Address;
  /** The number of `publicIP`, from 0: the same for all of its subnets, and for as long as it has any. */
  readonly slot: number;
}

export interface ForwardingTable {
  /** The overlay, of each family at most one. */
  readonly networks: readonly Prefix[];
  readonly ownSubnets: readonly Prefix[];
  /** All of this host's addresses. */
  readonly ownAddresses: readonly Address[];
  readonly peers: readonly Peer[];
  /** Outer sources that are let in although they are no peer's. */
  readonly acceptFrom: readonly Prefix[];
}

/** A `ForwardingTable` as the packet thread reads it: nothing but memory, so that it is handed over without a copy. */
export interface ForwardingData {
  /** Whose an inner address is: a slot, `OWN`, `UNLEASED`, or `NONE` outside the overlay. */
  readonly owners4: PrefixIndexData;
  readonly owners6: PrefixIndexData;
  /** Why an inner source outside the overlay is refused: an index into `DROP_REASONS`. */
  readonly refused4: PrefixIndexData;
  readonly refused6: PrefixIndexData;
  /** Who an outer source is: a `Sender`. */
  readonly senders: PrefixIndexData;
  /** Slot to public address. */
  readonly addresses: Int32Array<ArrayBuffer>;
  /** What AcceptFrom names: first and last address of each network. */
  readonly accepted: Uint32Array<ArrayBuffer>;
  readonly hasIPv6: boolean;
  /** All of the memory: what to transfer with the rest. */
  readonly buffers: ArrayBuffer[];
}

/** The slot of a peer, or one of the two below. */
export type Sender = number;
/** Nobody's slot. */
export const NO_ROUTE = NONE;
/** Neither a peer nor in AcceptFrom. */
export const STRANGER: Sender = NONE;
/** No peer, but in AcceptFrom. */
export const ACCEPTED: Sender = -2;

const OWN = -3;
const UNLEASED = -4;

/**
 * Sources that no packet can have come from, wherever a peer had it from (RFC 1122 §3.2.1.3, RFC 4291 §2.5). In IPv6 link-local ones
 * too: every host has them, and none may leave its link. IPv4's may be seen: nodes' DNS caches and clouds' metadata services have them.
 */
const IMPOSSIBLE_SOURCES = [
  "0.0.0.0/8",
  "127.0.0.0/8",
  "224.0.0.0/4",
  "255.255.255.255/32",
  "::/128",
  "::1/128",
  "::ffff:0:0/96",
  "fe80::/10",
  "ff00::/8",
].map(parsePrefix);

export function buildForwarding(table: ForwardingTable): ForwardingData {
  const { networks, ownSubnets, ownAddresses, peers, acceptFrom } = table;
  // Later ones count where two are equal: our own subnet is ours whatever a lease says, a peer is a peer also if AcceptFrom names it.
  const owners: readonly PrefixEntry[] = [
    ...networks.map((prefix) => ({ prefix, value: UNLEASED })),
    ...peers.map(({ subnet, slot }) => ({ prefix: subnet, value: slot })),
    ...ownSubnets.map((prefix) => ({ prefix, value: OWN })),
  ];
  const refused: readonly PrefixEntry[] = [
    ...IMPOSSIBLE_SOURCES.map((prefix) => ({ prefix, value: DROP_REASONS.indexOf("impossible source") })),
    ...ownAddresses.map((address) => ({ prefix: hostPrefix(address), value: DROP_REASONS.indexOf("own source") })),
  ];
  const senders: readonly PrefixEntry[] = [
    ...acceptFrom.map((prefix) => ({ prefix, value: ACCEPTED })),
    ...peers.map(({ publicIP, slot }) => ({ prefix: hostPrefix(publicIP), value: slot })),
  ];
  const indexes = {
    owners4: buildPrefixIndex(4, owners),
    owners6: buildPrefixIndex(6, owners),
    refused4: buildPrefixIndex(4, refused),
    refused6: buildPrefixIndex(6, refused),
    senders: buildPrefixIndex(4, senders),
  };
  const addresses = addressesBySlot(peers);
  const accepted = Uint32Array.from(acceptFrom.flatMap(bounds));
  return {
    ...indexes,
    addresses,
    accepted,
    hasIPv6: networks.some((network) => network.address.family === 6),
    buffers: [
      ...Object.values(indexes).flatMap(({ levels, cells }) => [levels.buffer, cells.buffer]),
      addresses.buffer,
      accepted.buffer,
    ],
  };
}

function hostPrefix(address: Address): Prefix {
  return { address, length: address.family === 4 ? 32 : 128 };
}

/** First and last address. */
function bounds({ address, length }: Prefix): readonly number[] {
  const first = Number(address.value);
  return [first, first + 2 ** (32 - length) - 1];
}

function addressesBySlot(peers: readonly Peer[]): Int32Array<ArrayBuffer> {
  const addresses = new Int32Array(peers.reduce((most, peer) => Math.max(most, peer.slot), -1) + 1);
  for (const { publicIP, slot } of peers) {
    if (publicIP.family !== 4) throw new Error(`a udp peer's public IP is not IPv4: ${formatAddress(publicIP)}`);
    addresses[slot] = Number(publicIP.value);
  }
  return addresses;
}

/**
 * Where packets go and which are let in. The packet thread swaps one for the next between two batches. All addresses of IPv4 are 32-bit
 * words, signed or not; those given back are signed, which V8 keeps without an allocation.
 */
export class Forwarding {
  readonly #view: DataView;
  readonly #owners4: PrefixIndex;
  readonly #owners6: PrefixIndex;
  readonly #refused4: PrefixIndex;
  readonly #refused6: PrefixIndex;
  readonly #senders: PrefixIndex;
  readonly #addresses: Int32Array;
  readonly #accepted: Uint32Array;
  readonly #hasIPv6: boolean;

  constructor(data: ForwardingData, arena: Arena) {
    this.#view = arena.view;
    this.#owners4 = new PrefixIndex(data.owners4);
    this.#owners6 = new PrefixIndex(data.owners6);
    this.#refused4 = new PrefixIndex(data.refused4);
    this.#refused6 = new PrefixIndex(data.refused6);
    this.#senders = new PrefixIndex(data.senders);
    this.#addresses = data.addresses;
    this.#accepted = data.accepted;
    this.#hasIPv6 = data.hasIPv6;
  }

  /** The slot of the peer that the packet's destination belongs to, or `NO_ROUTE`: no lease holds it, or ours does. */
  route(packet: IpPacket): number {
    const owner = this.#owner(packet.version, packet.destinationAt);
    return owner < 0 ? NO_ROUTE : owner;
  }

  /** Whether the overlay has addresses of the packet's family. */
  hasFamily(packet: IpPacket): boolean {
    return packet.version === 4 || this.#hasIPv6;
  }

  /** A peer's public address; 0 for a slot that no peer has. */
  addressOf(slot: number): number {
    return this.#addresses[slot] ?? 0;
  }

  /** All outer sources that are no strangers, see {@link sourceRanges}. Not for every packet: it sorts the peers. */
  sources(): Uint32Array {
    return sourceRanges(this.#addresses, this.#accepted);
  }

  sender(outerSource: number): Sender {
    return this.#senders.lookup4(outerSource);
  }

  /** Whether the packet's source lies in a peer's subnet, whoever sent it. */
  hasLeasedSource(packet: IpPacket): boolean {
    return this.#owner(packet.version, packet.sourceAt) >= 0;
  }

  /**
   * Why a packet that `sender` sent is not let in; 0 if it is. A source in the overlay must be the sender's own; one that AcceptFrom let in may
   * forward for every peer. A source outside is accepted from both, unless it is ours or no single host's.
   *
   * Where the packet wants to go is our kernel's business, as with any other device: it may be for a pod, for this host, or for a
   * subnet that has moved on since the sender heard of it, and whether it is forwarded is for the firewall to say. Only loopback is
   * refused: kube-proxy sets `route_localnet`, and then the kernel would deliver it (CVE-2020-8558).
   */
  judge(sender: Sender, packet: IpPacket): DropReason | 0 {
    if (sender === STRANGER) return "stranger";
    const owner = this.#owner(packet.version, packet.sourceAt);
    if (owner !== sender) {
      const reason = owner < 0 ? this.#judgeUnleased(owner, packet) : sender === ACCEPTED ? 0 : "foreign source";
      if (reason !== 0) return reason;
    }
    return this.#hasLoopbackDestination(packet) ? "loopback destination" : 0;
  }

  #judgeUnleased(owner: number, packet: IpPacket): DropReason | 0 {
    if (owner === OWN) return "own source";
    if (owner === UNLEASED) return "foreign source";
    if (packet.version === 6 && !this.#hasIPv6) return "family not in use";
    const at = packet.sourceAt;
    const reason = packet.version === 4 ? this.#lookup4(this.#refused4, at) : this.#lookup6(this.#refused6, at);
    return reason === NONE ? 0 : (DROP_REASONS[reason] as DropReason);
  }

  #hasLoopbackDestination(packet: IpPacket): boolean {
    const view = this.#view;
    const at = packet.destinationAt;
    if (packet.version === 4) return view.getUint8(at) === 127;
    return (
      view.getInt32(at) === 0 &&
      view.getInt32(at + 4) === 0 &&
      view.getInt32(at + 8) === 0 &&
      view.getInt32(at + 12) === 1
    );
  }

  #owner(version: 4 | 6, at: number): number {
    return version === 4 ? this.#lookup4(this.#owners4, at) : this.#lookup6(this.#owners6, at);
  }

  #lookup4(index: PrefixIndex, at: number): number {
    return index.lookup4(this.#view.getInt32(at));
  }

  #lookup6(index: PrefixIndex, at: number): number {
    const view = this.#view;
    return index.lookup6(view.getInt32(at), view.getInt32(at + 4), view.getInt32(at + 8), view.getInt32(at + 12));
  }
}
