import type { Address } from "../ip/address.ts";
import type { Codec } from "./codec.ts";
import { address, bytes, text, u8, u16be, u32be } from "./codecs.ts";
import { attributes, findAttribute, message, struct } from "./schema.ts";
import { WireError } from "./wire-error.ts";
import { LITTLE_ENDIAN } from "./writer.ts";

/** `NFNL_SUBSYS_NFTABLES << 8`, include/uapi/linux/netfilter/nfnetlink.h; the messages are those of netfilter/nf_tables.h. */
const NFTABLES = 10 << 8;

export const NFT_MSG_NEWTABLE = NFTABLES | 0;
export const NFT_MSG_GETTABLE = NFTABLES | 1;
export const NFT_MSG_DELTABLE = NFTABLES | 2;
export const NFT_MSG_NEWCHAIN = NFTABLES | 3;
export const NFT_MSG_GETCHAIN = NFTABLES | 4;
export const NFT_MSG_DELCHAIN = NFTABLES | 5;
export const NFT_MSG_NEWRULE = NFTABLES | 6;
export const NFT_MSG_DELRULE = NFTABLES | 8;
export const NFT_MSG_NEWSET = NFTABLES | 9;
export const NFT_MSG_GETSETELEM = NFTABLES | 13;
export const NFT_MSG_DELSET = NFTABLES | 11;
export const NFT_MSG_NEWSETELEM = NFTABLES | 12;
export const NFT_MSG_DELSETELEM = NFTABLES | 14;
export const NFT_MSG_NEWGEN = NFTABLES | 15;
export const NFT_MSG_GETGEN = NFTABLES | 16;

/** The multicast group that tells of every change: NFNLGRP_NFTABLES. */
export const NFNLGRP_NFTABLES = 7;

/** nftables' table families: NFPROTO_*, include/uapi/linux/netfilter.h. */
export const NFPROTO_INET = 1;
export const NFPROTO_IPV4 = 2;
export const NFPROTO_IPV6 = 10;

/** `struct nfgenmsg` */
const header = struct({ family: u8, version: u8, resource: u16be });

/** A base chain's place in a packet's way: NFTA_HOOK_*. */
const Hook = attributes({ number: [1, u32be], priority: [2, u32be] });

/** NFTA_CHAIN_* */
export const NftChainMessage = message(
  header,
  attributes({
    table: [1, text],
    handle: [2, bytes],
    name: [3, text],
    hook: [4, Hook],
    policy: [5, u32be],
    use: [6, u32be],
    type: [7, text],
  }),
);

/** What all that is in a table says of itself: NFTA_RULE_TABLE, NFTA_RULE_CHAIN, and for a set NFTA_SET_TABLE, NFTA_SET_NAME likewise. */
export const NftContentMessage = message(header, attributes({ table: [1, text], owner: [2, text] }));

/** Ends the announcement of each transaction and says who made it: NFTA_GEN_*. */
export const NftGenerationMessage = message(
  header,
  attributes({ id: [1, u32be], process: [2, u32be], processName: [3, text] }),
);

/** What stands around the messages of one transaction: `NFNL_MSG_BATCH_BEGIN` and `_END`, with {@link NFNL_SUBSYS_NFTABLES} as resource. */
export const NFNL_MSG_BATCH_BEGIN = 16;
export const NFNL_MSG_BATCH_END = 17;
export const NFNL_SUBSYS_NFTABLES = 10;
export const NftBatchMessage = message(header, attributes({}));

/** A set's keys are addresses of one family: nft(8)'s numbers for ipv4_addr and ipv6_addr, which it shows a set by. */
export const NFT_TYPE_IPV4_ADDRESS = 7;
export const NFT_TYPE_IPV6_ADDRESS = 8;

/** NFTA_SET_* */
export const NftSetMessage = message(
  header,
  attributes({
    table: [1, text],
    name: [2, text],
    flags: [3, u32be],
    keyType: [4, u32be],
    keyLength: [5, u32be],
    id: [10, u32be],
  }),
);

/** NFTA_LIST_ELEM, NFTA_SET_ELEM_KEY and NFTA_DATA_VALUE, one in the other. */
const NESTED_VALUE = 1;
const NLA_F_NESTED = 0x8000;
const ATTRIBUTE_HEADER = 4;

/** Addresses in a set; what else the kernel tells of an element is left out. */
const elements: Codec<readonly Address[]> = {
  size: undefined,
  write(writer, values) {
    for (const value of values) {
      const size = value.family === 4 ? 4 : 16;
      for (const depth of [2, 1, 0]) {
        writer.u16(size + (depth + 1) * ATTRIBUTE_HEADER);
        writer.u16(depth === 0 ? NESTED_VALUE : NESTED_VALUE | NLA_F_NESTED);
      }
      address.write(writer, value);
    }
  },
  read(source, start, end) {
    const values: Address[] = [];
    for (let at = start; at < end; ) {
      const next = at + ((source.view.getUint16(at, LITTLE_ENDIAN) + 3) & ~3);
      if (next <= at || next > end) throw new WireError(`an element of ${next - at} bytes in ${end - at}`);
      const [keyStart, keyEnd] = findAttribute(source, at + ATTRIBUTE_HEADER, next, NESTED_VALUE);
      const [valueStart, valueEnd] = keyStart < 0 ? NOWHERE : findAttribute(source, keyStart, keyEnd, NESTED_VALUE);
      if (valueStart >= 0) values.push(address.read(source, valueStart, valueEnd));
      at = next;
    }
    return values;
  },
};
const NOWHERE = [-1, -1] as const;

/** NFTA_SET_ELEM_LIST_* */
export const NftElementsMessage = message(
  header,
  attributes({ table: [1, text], set: [2, text], elements: [3, elements] }),
);
