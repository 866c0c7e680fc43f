import type { Codec, Source, ValueOf } from "./codec.ts";
import {
  address,
  bytes,
  flag,
  flagToldAsByte,
  hardwareAddress,
  i32,
  text,
  u8,
  u16,
  u16be,
  u32,
  u32be,
  u64,
} from "./codecs.ts";
import { attributes, message, struct, type UnknownAttribute } from "./schema.ts";
import { WireError } from "./wire-error.ts";

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_SETLINK = 19;

export const IFF_UP = 0x1;
export const IFF_LOOPBACK = 0x8;
export const IFF_RUNNING = 0x40;
export const IFF_LOWER_UP = 0x10000;

/** In `extendedMask`: leave the counters out. */
export const RTEXT_FILTER_SKIP_STATS = 8;

/** Where these stand among the attributes. */
export const IFLA_IFNAME = 3;

const LinkHeader = struct({ family: u8, _pad: u8, type: u16, index: i32, flags: u32, changeMask: u32 });

/** IFLA_VXLAN_*, include/uapi/linux/if_link.h. */
export const VxlanData = attributes({
  vni: [1, u32],
  group: [2, address],
  lower: [3, u32],
  local: [4, address],
  ttl: [5, u8],
  tos: [6, u8],
  learning: [7, u8],
  /** Seconds. */
  ageing: [8, u32],
  limit: [9, u32],
  sourcePorts: [10, struct({ low: u16be, high: u16be })],
  proxy: [11, u8],
  routeShortCircuit: [12, u8],
  l2miss: [13, u8],
  l3miss: [14, u8],
  port: [15, u16be],
  group6: [16, address],
  local6: [17, address],
  udpChecksum: [18, u8],
  udpZeroChecksum6Send: [19, u8],
  udpZeroChecksum6Receive: [20, u8],
  remoteChecksumSend: [21, u8],
  remoteChecksumReceive: [22, u8],
  gbp: [23, flag],
  remoteChecksumNoPartial: [24, flag],
  collectMetadata: [25, u8],
  flowLabel: [26, u32be],
  gpe: [27, flag],
  ttlInherit: [28, flagToldAsByte],
  df: [29, u8],
  vniFilter: [30, u8],
  localBypass: [31, u8],
  flowLabelPolicy: [32, u32],
  reservedBits: [33, bytes],
  multicastRoute: [34, u8],
});

/** IFLA_BR_*, include/uapi/linux/if_link.h. Times are in hundredths of a second. */
export const BridgeData = attributes({
  forwardDelay: [1, u32],
  helloTime: [2, u32],
  maxAge: [3, u32],
  ageingTime: [4, u32],
  stpState: [5, u32],
  priority: [6, u16],
  vlanFiltering: [7, u8],
  vlanProtocol: [8, u16be],
  groupForwardMask: [9, u16],
  rootId: [10, bytes],
  bridgeId: [11, bytes],
  rootPort: [12, u16],
  rootPathCost: [13, u32],
  topologyChange: [14, u8],
  topologyChangeDetected: [15, u8],
  helloTimer: [16, u64],
  tcnTimer: [17, u64],
  topologyChangeTimer: [18, u64],
  gcTimer: [19, u64],
  groupAddress: [20, hardwareAddress],
  fdbFlush: [21, flag],
  multicastRouter: [22, u8],
  multicastSnooping: [23, u8],
  multicastQueryUsesAddress: [24, u8],
  multicastQuerier: [25, u8],
  multicastHashElasticity: [26, u32],
  multicastHashMax: [27, u32],
  multicastLastMemberCount: [28, u32],
  multicastStartupQueryCount: [29, u32],
  multicastLastMemberInterval: [30, u64],
  multicastMembershipInterval: [31, u64],
  multicastQuerierInterval: [32, u64],
  multicastQueryInterval: [33, u64],
  multicastQueryResponseInterval: [34, u64],
  multicastStartupQueryInterval: [35, u64],
  callIptables: [36, u8],
  callIp6tables: [37, u8],
  callArptables: [38, u8],
  vlanDefaultPvid: [39, u16],
  vlanStatistics: [41, u8],
  multicastStatistics: [42, u8],
  igmpVersion: [43, u8],
  mldVersion: [44, u8],
  vlanStatisticsPerPort: [45, u8],
  booleanOptions: [46, struct({ value: u32, mask: u32 })],
});

/** IFLA_TUN_*, include/uapi/linux/if_link.h. */
export const TunData = attributes({
  owner: [1, u32],
  group: [2, u32],
  /** IFF_TUN 1 or IFF_TAP 2. */
  type: [3, u8],
  packetInformation: [4, u8],
  virtioHeader: [5, u8],
  persist: [6, u8],
  multiQueue: [7, u8],
  queues: [8, u32],
  disabledQueues: [9, u32],
});

/** The other end of a veth pair, only when it is made: VETH_INFO_PEER holds a link message without attributes of its own kind. */
export const VethData = attributes({
  peer: [
    1,
    message(
      LinkHeader,
      attributes({ mac: [1, hardwareAddress], name: [IFLA_IFNAME, text], mtu: [4, u32], namespaceFd: [28, u32] }),
    ),
  ],
});

const KIND_DATA = { vxlan: VxlanData, bridge: BridgeData, tun: TunData, veth: VethData } as const;

/** The kind of a device and what only that kind has. `data` holds what a kind without schema has. */
export interface LinkInfo {
  readonly kind?: string | undefined;
  readonly vxlan?: ValueOf<typeof VxlanData> | undefined;
  readonly bridge?: ValueOf<typeof BridgeData> | undefined;
  readonly tun?: ValueOf<typeof TunData> | undefined;
  readonly veth?: ValueOf<typeof VethData> | undefined;
  readonly data?: Uint8Array | undefined;
  /** Of the bridge or bond that it belongs to. */
  readonly slaveKind?: string | undefined;
  readonly slaveData?: Uint8Array | undefined;
  readonly unknown?: readonly UnknownAttribute[] | undefined;
}

function linkInfoWith(data: Codec<never>) {
  return attributes({
    kind: [1, text],
    data: [2, data],
    slaveKind: [4, text],
    slaveData: [5, bytes],
  }) as unknown as Codec<Omit<LinkInfo, "data"> & { readonly data?: unknown }>;
}

const RawInfo = linkInfoWith(bytes as Codec<never>);
const KIND_INFO = new Map(
  Object.entries(KIND_DATA).map(([kind, codec]) => [kind, linkInfoWith(codec as unknown as Codec<never>)]),
);

/** IFLA_LINKINFO: how its data is read depends on the kind that stands before. */
const linkInfo: Codec<LinkInfo> = {
  size: undefined,
  write(writer, value) {
    const { kind } = value;
    const known = kind === undefined ? undefined : KIND_INFO.get(kind);
    if (known === undefined) RawInfo.write(writer, value);
    else known.write(writer, { ...value, data: value.data ?? value[kind as keyof typeof KIND_DATA] });
  },
  read(source, start, end) {
    const raw = RawInfo.read(source, start, end);
    const known = raw.kind === undefined ? undefined : KIND_INFO.get(raw.kind);
    if (known === undefined || raw.data === undefined) return raw as LinkInfo;
    const { data, ...rest } = known.read(source, start, end);
    return { ...rest, [raw.kind as keyof typeof KIND_DATA]: data };
  },
};

/** A network interface: `struct ifinfomsg` and IFLA_*, include/uapi/linux/if_link.h. */
export const LinkMessage = message(
  LinkHeader,
  attributes({
    mac: [1, hardwareAddress],
    broadcast: [2, hardwareAddress],
    name: [IFLA_IFNAME, text],
    mtu: [4, u32],
    /** The index of the link below, maybe in another namespace. */
    lower: [5, u32],
    queueing: [6, text],
    master: [10, u32],
    transmitQueueLength: [13, u32],
    operationalState: [16, u8],
    linkMode: [17, u8],
    info: [18, linkInfo],
    namespacePid: [19, u32],
    alias: [20, text],
    group: [27, u32],
    namespaceFd: [28, u32],
    extendedMask: [29, u32],
    promiscuity: [30, u32],
    transmitQueues: [31, u32],
    receiveQueues: [32, u32],
    carrier: [33, u8],
    carrierChanges: [35, u32],
    /** Set if `lower` is in another namespace. */
    lowerNamespace: [37, i32],
    protoDown: [39, u8],
    minMtu: [50, u32],
    maxMtu: [51, u32],
    permanentMac: [54, hardwareAddress],
  }),
);
export type LinkMessage = ValueOf<typeof LinkMessage>;

/** The same, of which only the fixed part is read: a tenth of the work for who wants to know the index and the flags. */
export const LinkHeaderMessage = {
  size: undefined,
  write: (...message: Parameters<typeof LinkMessage.write>) => LinkMessage.write(...message),
  read(source: Source, start: number, end: number) {
    if (end - start < LinkMessage.headerSize) throw new WireError(`a link of ${end - start} bytes`);
    return LinkHeader.read(source, start, end);
  },
};
