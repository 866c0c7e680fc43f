import type { ValueOf } from "./codec.ts";
import { address, bytes, flag, list, u8, u16, u32 } from "./codecs.ts";
import { attributes, message, struct } from "./schema.ts";

export const RTM_NEWNEXTHOP = 104;
export const RTM_DELNEXTHOP = 105;
export const RTM_GETNEXTHOP = 106;

/** Where `id` stands among the attributes. */
export const NHA_ID = 1;

/** `struct nexthop_grp`; the weight is one less than it counts. */
const GroupEntry = struct({ id: u32, weight: u8, _weightHigh: u8, _reserved: u16 });

/** A nexthop object: `struct nhmsg` and NHA_*, include/uapi/linux/nexthop.h. Linux 5.3. */
export const NexthopMessage = message(
  struct({ family: u8, scope: u8, protocol: u8, _reserved: u8, flags: u32 }),
  attributes({
    id: [NHA_ID, u32],
    /** The ids of several nexthops that share the load, and how much of it each takes. */
    group: [2, list<ValueOf<typeof GroupEntry>>(GroupEntry)],
    groupType: [3, u16],
    blackhole: [4, flag],
    linkIndex: [5, u32],
    gateway: [6, address],
    encapsulationType: [7, u16],
    encapsulation: [8, bytes],
    onlyGroups: [9, flag],
    master: [10, u32],
    fdb: [11, flag],
    resilientGroup: [12, bytes],
  }),
);
