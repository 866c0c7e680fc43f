import { type Address, formatAddress } from "../../ip/address.ts";
import { containsAddress, formatPrefix } from "../../ip/prefix.ts";
import type { Logger } from "../../lib/logger.ts";
import type { DropReason } from "./drop-reason.ts";
import type { Peer } from "./forwarding.ts";

/** One of many packets that were dropped. */
export interface DropSample {
  readonly reason: DropReason;
  /** The host that sent it; undefined for a packet of ours. */
  readonly outer: Address | undefined;
  readonly source: Address;
  readonly destination: Address;
  /** Packets dropped for the same reason since the last sample. */
  readonly more: number;
}

/** Strangers that are told of one by one; a flood from invented addresses must not fill the memory, nor the log. */
const STRANGERS = 1000;

/** Tells of dropped packets: at -v=1 of every sample, and at any time of each stranger that seems to be a peer, once. */
export class DropLog {
  readonly #logger: Logger;
  readonly #strangers = new Set<bigint>();
  #peers: readonly Peer[] = [];

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Whose subnets they are. */
  setPeers(peers: readonly Peer[]): void {
    this.#peers = peers;
  }

  take(sample: DropSample): void {
    const { reason, outer, source, destination, more } = sample;
    if (reason === "stranger" && outer !== undefined) this.#tellOfStranger(outer, source);
    if (!this.#logger.debugs) return;
    this.#logger.debug("packet dropped", {
      reason,
      ...(outer === undefined ? {} : { from: formatAddress(outer) }),
      source: formatAddress(source),
      destination: formatAddress(destination),
      ...(more === 0 ? {} : { more }),
    });
  }

  #tellOfStranger(address: Address, source: Address): void {
    if (this.#strangers.size >= STRANGERS || this.#strangers.has(address.value)) return;
    const peer = this.#peerOf(source);
    if (peer === undefined) return;
    this.#strangers.add(address.value);
    const text = formatAddress(address);
    this.#logger.warn("packets of a leased subnet are dropped: they come from an address that is no peer's", {
      address: text,
      subnet: formatPrefix(peer.subnet),
      leasedBy: formatAddress(peer.publicIP),
      hint: `if it is the same host behind a NAT, "AcceptFrom": [${JSON.stringify(text)}] in the Backend lets it in`,
    });
    if (this.#strangers.size === STRANGERS)
      this.#logger.warn("too many strangers send packets of leased subnets: further ones are counted only", {
        strangers: STRANGERS,
      });
  }

  #peerOf(source: Address): Peer | undefined {
    let best: Peer | undefined;
    for (const peer of this.#peers)
      if (containsAddress(peer.subnet, source) && peer.subnet.length > (best?.subnet.length ?? -1)) best = peer;
    return best;
  }
}
