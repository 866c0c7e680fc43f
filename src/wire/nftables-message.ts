import { bytes, text, u8, u16be, u32be } from "./codecs.ts";
import { attributes, message, struct } from "./schema.ts";

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
