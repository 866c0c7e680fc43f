import type { Address } from "../ip/address.ts";
import type { Codec } from "./codec.ts";
import { address, bytes, text, u8, u16, u16be, u32 } from "./codecs.ts";
import { attributes, message, struct } from "./schema.ts";
import { WireError } from "./wire-error.ts";
import { LITTLE_ENDIAN } from "./writer.ts";

export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;

export const RT_TABLE_MAIN = 254;
export const RTPROT_BOOT = 3;
export const RTN_UNICAST = 1;
export const RT_SCOPE_UNIVERSE = 0;
export const RT_SCOPE_LINK = 253;
export const RT_SCOPE_NOWHERE = 255;
export const RTNH_F_ONLINK = 4;
/** A copy that was made for one destination, not a route somebody set. */
export const RTM_F_CLONED = 0x200;

/** Where these stand among the attributes. */
export const RTA_DST = 1;
export const RTA_OIF = 4;

/** RTAX_*; those not named stay in `unknown`. */
const Metrics = attributes({
  lock: [1, u32],
  mtu: [2, u32],
  window: [3, u32],
  rtt: [4, u32],
  rttVariance: [5, u32],
  slowStartThreshold: [6, u32],
  congestionWindow: [7, u32],
  advertisedSegment: [8, u32],
  reordering: [9, u32],
  hopLimit: [10, u32],
  initialCongestionWindow: [11, u32],
  features: [12, u32],
  minimalRetransmission: [13, u32],
  initialReceiveWindow: [14, u32],
  quickAcknowledgement: [15, u32],
  congestionControl: [16, text],
  fastOpenWithoutCookie: [17, u32],
});

/** One way of several: `struct rtnexthop` and the attributes that belong to it. */
export interface RouteHop {
  readonly flags: number;
  /** Weight less one. */
  readonly hops: number;
  readonly linkIndex: number;
  readonly gateway?: Address | undefined;
  readonly via?: Uint8Array | undefined;
  readonly encapsulationType?: number | undefined;
  readonly encapsulation?: Uint8Array | undefined;
}

const RTNEXTHOP_SIZE = 8;
const HopAttributes = attributes({
  gateway: [5, address],
  via: [18, bytes],
  encapsulationType: [21, u16],
  encapsulation: [22, bytes],
});

const hops: Codec<readonly RouteHop[]> = {
  size: undefined,
  write(writer, values) {
    for (const hop of values) {
      const start = writer.length;
      writer.u16(0);
      writer.u8(hop.flags);
      writer.u8(hop.hops);
      writer.u32(hop.linkIndex);
      HopAttributes.write(writer, hop);
      writer.view.setUint16(start, writer.length - start, LITTLE_ENDIAN);
    }
  },
  read(source, start, end) {
    const values: RouteHop[] = [];
    let at = start;
    while (at < end) {
      if (end - at < RTNEXTHOP_SIZE) throw new WireError(`${end - at} bytes where a next hop should begin`);
      const length = source.view.getUint16(at, LITTLE_ENDIAN);
      if (length < RTNEXTHOP_SIZE || length > end - at)
        throw new WireError(`a next hop of ${length} bytes in ${end - at}`);
      values.push({
        flags: source.bytes[at + 2] ?? 0,
        hops: source.bytes[at + 3] ?? 0,
        linkIndex: source.view.getUint32(at + 4, LITTLE_ENDIAN),
        ...HopAttributes.read(source, at + RTNEXTHOP_SIZE, at + length),
      });
      at += (length + 3) & ~3;
    }
    return values;
  },
};

/** A route: `struct rtmsg` and RTA_*, include/uapi/linux/rtnetlink.h. */
export const RouteMessage = message(
  struct({
    family: u8,
    destinationLength: u8,
    sourceLength: u8,
    tos: u8,
    table: u8,
    protocol: u8,
    scope: u8,
    kind: u8,
    flags: u32,
  }),
  attributes({
    destination: [RTA_DST, address],
    source: [2, address],
    inputLink: [3, u32],
    linkIndex: [RTA_OIF, u32],
    gateway: [5, address],
    metric: [6, u32],
    preferredSource: [7, address],
    metrics: [8, Metrics],
    multipath: [9, hops],
    realm: [11, u32],
    cacheInfo: [12, bytes],
    /** Widens the eight bits of `table`. */
    wideTable: [15, u32],
    mark: [16, u32],
    /** A gateway of the other family: `struct rtvia`. */
    via: [18, bytes],
    newDestination: [19, bytes],
    preference: [20, u8],
    encapsulationType: [21, u16],
    encapsulation: [22, bytes],
    expires: [23, u32],
    userId: [25, u32],
    ttlPropagate: [26, u8],
    ipProtocol: [27, u8],
    sourcePort: [28, u16be],
    destinationPort: [29, u16be],
    nexthopId: [30, u32],
  }),
);
