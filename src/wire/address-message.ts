import { address, bytes, text, u8, u32 } from "./codecs.ts";
import { attributes, message, struct } from "./schema.ts";

export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;

/** Do not ask on the link whether somebody else has this IPv6 address. */
export const IFA_F_NODAD = 0x02;
/** Of IPv6 only: made up for a while (the bit means something else in IPv4), its test failed, not to be used any more, being tested. */
export const IFA_F_TEMPORARY = 0x01;
export const IFA_F_DADFAILED = 0x08;
export const IFA_F_DEPRECATED = 0x20;
export const IFA_F_TENTATIVE = 0x40;
/** Make no route to the address's network. */
export const IFA_F_NOPREFIXROUTE = 0x200;

/** An address of a link: `struct ifaddrmsg` and IFA_*, include/uapi/linux/if_addr.h. */
export const AddressMessage = message(
  struct({ family: u8, prefixLength: u8, flags: u8, scope: u8, linkIndex: u32 }),
  attributes({
    /** The network's address; of a point-to-point link the other end's. */
    address: [1, address],
    /** Our own, if it is not `address`. */
    local: [2, address],
    label: [3, text],
    broadcast: [4, address],
    anycast: [5, address],
    cacheInfo: [6, bytes],
    multicast: [7, address],
    /** Widens the eight bits of `flags`. */
    allFlags: [8, u32],
    routePriority: [9, u32],
    protocol: [11, u8],
  }),
);
