import { address, bytes, hardwareAddress, u8, u16, u16be, u32 } from "./codecs.ts";
import { attributes, message, struct } from "./schema.ts";

export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;

export const NUD_PERMANENT = 0x80;
/** The entry is the device's own, not its bridge's. */
export const NTF_SELF = 0x02;

/** Where `destination` stands among the attributes, for those who look before they decode. */
export const NDA_DST = 1;
export const NDA_LLADDR = 2;

/** A neighbour or, with AF_BRIDGE, a forwarding entry: `struct ndmsg` and NDA_*, include/uapi/linux/neighbour.h. */
export const NeighborMessage = message(
  struct({ family: u8, _pad1: u8, _pad2: u16, linkIndex: u32, state: u16, flags: u8, kind: u8 }),
  attributes({
    destination: [NDA_DST, address],
    linkLayerAddress: [NDA_LLADDR, hardwareAddress],
    cacheInfo: [3, bytes],
    probes: [4, u32],
    vlan: [5, u16],
    port: [6, u16be],
    vni: [7, u32],
    outLink: [8, u32],
    master: [9, u32],
    linkNamespace: [10, u32],
    sourceVni: [11, u32],
    protocol: [12, u8],
    nexthopId: [13, u32],
    extendedFlags: [15, u32],
  }),
);
