import { type Address, decodeAddress } from "../../ip/address.ts";
import type { Arena } from "../../lib/arena.ts";
import type { Milliseconds } from "../../lib/clock.ts";
import { TokenBucket } from "../../lib/token-bucket.ts";
import type { IpPacket } from "../../wire/packet/ip-packet.ts";
import type { DropSample } from "./drop-log.ts";
import { DROP_REASONS, type DropReason } from "./drop-reason.ts";
import type { Forwarding } from "./forwarding.ts";

/** Strangers whose packets are of a leased subnet. */
const STRANGERS = { perSecond: 10, burst: 10 };
/** For each reason by itself, so that a flood for one hides no other. */
const EACH_REASON = { perSecond: 1, burst: 5 };

/** Places for strangers that have been told of, one for each value of a hash: a power of two. */
const KNOWN_BITS = 10;
const SPREAD = 0x9e37_79b1 | 0;

/** What is still to be told of one reason. */
interface Tally {
  readonly limit: TokenBucket;
  /** Packets since the last sample. */
  more: number;
}

export interface DropSamplerOptions {
  /** Whether samples of all reasons are wanted, as at -v=1, or only of strangers that may be peers. */
  readonly isVerbose: boolean;
  /** Milliseconds that never step back. */
  readonly now: () => Milliseconds;
}

/**
 * The packet thread's choice of the few dropped packets that the log is shown. Nothing is allocated for the others, and a flood from
 * any number of addresses costs each packet a look into one or two tables.
 */
export class DropSampler {
  readonly #bytes: Uint8Array;
  readonly #options: DropSamplerOptions;
  readonly #strangers = new TokenBucket(STRANGERS);
  readonly #known = new Int32Array(2 ** KNOWN_BITS);
  readonly #tallies = new Map<DropReason, Tally>(
    DROP_REASONS.map((reason) => [reason, { limit: new TokenBucket(EACH_REASON), more: 0 }]),
  );

  constructor(arena: Arena, options: DropSamplerOptions) {
    this.#bytes = arena.bytes;
    this.#options = options;
  }

  /**
   * @param outerSource as a 32-bit word, 0 for a packet of ours
   * @param packets that it stands for
   * @returns what to show, mostly nothing
   */
  take(
    reason: DropReason,
    outerSource: number,
    packet: IpPacket,
    forwarding: Forwarding,
    packets = 1,
  ): DropSample | undefined {
    const tally = this.#tallies.get(reason) as Tally;
    tally.more += packets;
    const isWanted =
      (reason === "stranger" && this.#isNewStranger(outerSource | 0, packet, forwarding)) ||
      (this.#options.isVerbose && tally.limit.take(this.#options.now()));
    if (!isWanted) return undefined;
    const more = tally.more - 1;
    tally.more = 0;
    return {
      reason,
      outer: outerSource === 0 ? undefined : { family: 4, value: BigInt(outerSource >>> 0) },
      source: this.#address(packet.sourceAt, packet.addressLength),
      destination: this.#address(packet.destinationAt, packet.addressLength),
      more,
    };
  }

  /** Whether it may be a peer that we know by another address, and has not been told of yet as far as we remember. */
  #isNewStranger(outerSource: number, packet: IpPacket, forwarding: Forwarding): boolean {
    const place = Math.imul(outerSource, SPREAD) >>> (32 - KNOWN_BITS);
    if (this.#known[place] === outerSource || !forwarding.hasLeasedSource(packet)) return false;
    if (!this.#strangers.take(this.#options.now())) return false;
    this.#known[place] = outerSource;
    return true;
  }

  #address(at: number, length: number): Address {
    return decodeAddress(this.#bytes.subarray(at, at + length));
  }
}
