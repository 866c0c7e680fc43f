import type { Address } from "../ip/address.ts";
import type { Codec } from "./codec.ts";
import { address, text, u8, u16be, u32, u32be } from "./codecs.ts";
import { attributes, findAttribute, message, struct } from "./schema.ts";
import { WireError } from "./wire-error.ts";
import { LITTLE_ENDIAN } from "./writer.ts";

/** `NFNL_SUBSYS_IPSET << 8`, include/uapi/linux/netfilter/nfnetlink.h; commands and attributes are those of netfilter/ipset/ip_set.h. */
const IPSET = 6 << 8;

export const IPSET_CMD_PROTOCOL = IPSET | 1;
export const IPSET_CMD_CREATE = IPSET | 2;
export const IPSET_CMD_DESTROY = IPSET | 3;
export const IPSET_CMD_LIST = IPSET | 7;
export const IPSET_CMD_ADD = IPSET | 9;
export const IPSET_CMD_DEL = IPSET | 10;

/** The oldest that every kernel since 2.6.39 takes for these commands. */
export const IPSET_PROTOCOL = 6;

/** For {@link IPSET_CMD_LIST}: only names; only what a set says of itself, without its elements. IPSET_FLAG_LIST_*. */
export const IPSET_FLAG_LIST_SETNAME = 1 << 1;
export const IPSET_FLAG_LIST_HEADER = 1 << 2;

/** A rule names the set. ipset's own errors begin with IPSET_ERR_PRIVATE, 4096. */
export const IPSET_ERR_BUSY = 4100;

/** The kernel refuses numbers and nested attributes here that do not say what they are. */
const NLA_F_NESTED = 0x8000;
const NLA_F_NET_BYTEORDER = 0x4000;

/** `struct nfgenmsg` */
const header = struct({ family: u8, version: u8, resource: u16be });

const common = { protocol: [1, u8], name: [2, text] } as const;

/** Makes a set: IPSET_ATTR_TYPENAME, _REVISION, _FAMILY, and in IPSET_ATTR_DATA how many elements it may hold. To be written only. */
export const IpsetCreateMessage = message(
  header,
  attributes({
    ...common,
    type: [3, text],
    revision: [4, u8],
    family: [5, u8],
    options: [NLA_F_NESTED | 7, attributes({ mostElements: [NLA_F_NET_BYTEORDER | 19, u32be] })],
  }),
);

const ATTRIBUTE_HEADER = 4;
const DATA = 7;
/** IPSET_ATTR_IP, and in it IPSET_ATTR_IPADDR_IPV4 or _IPV6. */
const ELEMENT_ADDRESS = 1;
const IPV4 = 1;
const IPV6 = 2;

/** Addresses in a set; what else the kernel tells of an element is left out. */
const elements: Codec<readonly Address[]> = {
  size: undefined,
  write(writer, values) {
    for (const value of values) {
      const isIPv4 = value.family === 4;
      const size = isIPv4 ? 4 : 16;
      writer.u16(size + 3 * ATTRIBUTE_HEADER);
      writer.u16(NLA_F_NESTED | DATA);
      writer.u16(size + 2 * ATTRIBUTE_HEADER);
      writer.u16(NLA_F_NESTED | ELEMENT_ADDRESS);
      writer.u16(size + ATTRIBUTE_HEADER);
      writer.u16(NLA_F_NET_BYTEORDER | (isIPv4 ? IPV4 : IPV6));
      address.write(writer, value);
    }
  },
  read(source, start, end) {
    const values: Address[] = [];
    for (let at = start; at < end; ) {
      if (end - at < ATTRIBUTE_HEADER) throw new WireError(`${end - at} bytes where an element should begin`);
      const next = at + ((source.view.getUint16(at, LITTLE_ENDIAN) + 3) & ~3);
      if (next <= at || next > end) throw new WireError(`an element of ${next - at} bytes in ${end - at}`);
      const [outerStart, outerEnd] = findAttribute(source, at + ATTRIBUTE_HEADER, next, ELEMENT_ADDRESS);
      for (const family of outerStart < 0 ? [] : [IPV4, IPV6]) {
        const [valueStart, valueEnd] = findAttribute(source, outerStart, outerEnd, family);
        if (valueStart >= 0) values.push(address.read(source, valueStart, valueEnd));
      }
      at = next;
    }
    return values;
  },
};

/** Adds elements or deletes them: IPSET_ATTR_ADT. The kernel wants a place for the line of the first bad one. To be written only. */
export const IpsetChangeMessage = message(
  header,
  attributes({ ...common, line: [9, u32], elements: [NLA_F_NESTED | 8, elements] }),
);

/** Asks for sets, or names one; the kernel's answers have the same form. In IPSET_ATTR_DATA it says how many elements there are. */
export const IpsetMessage = message(
  header,
  attributes({
    ...common,
    type: [3, text],
    flags: [6, u32be],
    state: [DATA, attributes({ count: [24, u32be] })],
    elements: [8, elements],
  }),
);
