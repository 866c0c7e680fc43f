import type { Table } from "../dataplane/table.ts";
import type { Address } from "../ip/address.ts";
import type { MacAddress } from "../ip/mac-address.ts";
import type { Prefix } from "../ip/prefix.ts";
import type { Abortable } from "../lib/abortable.ts";

/** Written into every route and nexthop object we make; how they are known again. A number nobody has registered. */
export const ROUTE_PROTOCOL = 241;

/** What the kernel uses where a vxlan device is asked for with port 0: older than IANA's 4789. */
export const VXLAN_DEFAULT_PORT = 8472;

/**
 * The Linux network stack of one network namespace. Rows name links by name and nothing else, so that a device that is
 * deleted and made again is the same row again.
 */
export interface Kernel extends Disposable {
  listLinks(options: Abortable): Promise<readonly Link[]>;
  /** Every address of every link, both families, also link-local ones. */
  listAddresses(options: Abortable): Promise<readonly LinkAddress[]>;
  /** The main table, both families, whoever made them. */
  listRoutes(options: Abortable): Promise<readonly KernelRoute[]>;
  /** How packets to an address leave this host, as `ip route get` says; undefined if they do not, or do not leave it. */
  routeTo(destination: Address, options: Abortable): Promise<RouteLookup | undefined>;
  /** Who else on the link has an IPv4 address, or is about to; undefined if nobody answers, which takes 0.75 s to know. @throws {SystemCallError} without CAP_NET_RAW */
  findOwner(link: string, address: Address, options: Abortable): Promise<MacAddress | undefined>;
  /** Whether a VTEP of another host answers, as far as it can be asked by one that is no peer of it; to know that none does takes 1 s. @throws {SystemCallError} without CAP_NET_RAW */
  vtepAnswers(vtep: Vtep, options: Abortable): Promise<boolean>;
  /** Calls back when a link or an address appeared, changed or went, which others did or, at times, we ourselves. */
  watchLinks(onChange: () => void): Disposable;
  /** Devices of ours, by name. Listed are those of a kind we make; a device of another kind in the way of a put is replaced. */
  linkTable(scope: LinkScope): Table<LinkRow>;
  /** The global addresses of a device of ours, both families. */
  addressTable(scope: AddressScope): Table<AddressRow>;
  routeTable(scope: RouteScope): Table<RouteRow>;
  /** Permanent ARP and neighbour discovery entries of a device of ours. */
  neighborTable(scope: NeighborScope): Table<NeighborRow>;
  /** Permanent unicast forwarding entries of a vxlan device of ours. */
  fdbTable(scope: FdbScope): Table<FdbRow>;
  /**
   * A TUN device of ours, which lives as long as somebody holds its descriptor. From then on tables of things that stand on a device
   * see one of this name only while it is the one that is held: nothing is put on another's, nor taken from it.
   */
  tunTable(scope: TunScope): Table<TunRow>;
  /** A UDP socket of ours. */
  udpSocketTable(scope: UdpSocketScope): Table<UdpSocketRow>;
  /** What a descriptor is attached to; undefined if it is not a TUN device's, or that device is gone. */
  attachedTun(fd: number): AttachedTun | undefined;
  /** Whether a descriptor is a UDP socket's that is bound so. */
  isBoundTo(fd: number, row: UdpSocketRow): boolean;
  closeDescriptor(fd: number): void;
  /** Values under `/proc/sys`. One whose file is missing, as of a device that is not there, is listed as absent. Removal does nothing. */
  sysctlTable(scope: SysctlScope): Table<SysctlRow>;
}

/** The vxlan device of another host, and by which address of ours it is asked. IPv4. */
export interface Vtep {
  /** Where its packets go. */
  readonly publicIP: Address;
  /** UDP; 0 for {@link VXLAN_DEFAULT_PORT}. */
  readonly port: number;
  readonly vni: number;
  readonly mac: MacAddress;
  /** Its own in the overlay. */
  readonly address: Address;
  readonly sender: Address;
}

/** A network interface as it is. */
export interface Link {
  readonly index: number;
  readonly name: string;
  /** `vxlan`, `bridge`, `veth`, `tun`; undefined for hardware and loopback. */
  readonly kind: string | undefined;
  /** Undefined where there is none or it has not six bytes. */
  readonly mac: MacAddress | undefined;
  /** Bytes of the largest packet. */
  readonly mtu: number;
  /** Administratively up. */
  readonly up: boolean;
  /** Up and with carrier. */
  readonly running: boolean;
  readonly loopback: boolean;
  /** The bridge or bond it belongs to. */
  readonly master: string | undefined;
  /** The link it stands on, in this namespace: vxlan's `dev`, a veth's peer. */
  readonly lower: string | undefined;
  readonly vxlan: VxlanSettings | undefined;
}

/** What of a vxlan device cannot be changed without making it anew. */
export interface VxlanSettings {
  readonly vni: number;
  /** The outer source address. */
  readonly local: Address | undefined;
  /** The link that carries the outer packets. */
  readonly lower: string | undefined;
  /** UDP destination port; 0 asks for the kernel's default. */
  readonly port: number;
  /** Group policy extension: carry a packet's security mark along. */
  readonly gbp: boolean;
  /** Learn peers from their packets, which flannel never needs. */
  readonly learning: boolean;
}

export interface LinkAddress {
  readonly link: string;
  /** Host bits kept. */
  readonly address: Prefix;
  readonly scope: "global" | "site" | "link" | "host";
  /** Of IPv6: temporary, deprecated, or not known to be nobody else's. */
  readonly isPassing?: true;
}

export interface KernelRoute {
  readonly destination: Prefix;
  /** The first hop's; undefined for a route without device, as `blackhole`. */
  readonly link: string | undefined;
  readonly gateway: Address | undefined;
  readonly onlink: boolean;
  readonly scope: "global" | "site" | "link" | "host" | "nowhere";
  /** RTPROT_*: 2 kernel, 3 boot, 4 static, ours {@link ROUTE_PROTOCOL}. */
  readonly protocol: number;
  /** 0 if none; for IPv6 the kernel's own default is 1024. */
  readonly metric: number;
  /** Local address it prefers. */
  readonly source: Address | undefined;
  /** Whether it goes to one or several next hops, not `blackhole`, `local` or the like. */
  readonly unicast: boolean;
  readonly multipath: boolean;
}

/** The way to one address. */
export interface RouteLookup {
  readonly link: string;
  /** Undefined for an address on the link. */
  readonly gateway: Address | undefined;
  /** The address of ours that packets would come from. */
  readonly source: Address | undefined;
}

export interface LinkScope {
  /** Names of devices that are ours. */
  readonly owned: readonly string[];
}

/** A device of ours by kind. A listed row may differ from what anyone would ask for: `up: false`. */
export type LinkRow = VxlanRow;

export interface VxlanRow extends VxlanSettings {
  readonly kind: "vxlan";
  readonly name: string;
  readonly mac: MacAddress;
  readonly mtu: number;
  readonly local: Address;
  readonly lower: string;
  /** Only in listed rows, where the device is down; a put always brings it up. */
  readonly up?: false;
}

export interface AddressScope {
  readonly link: string;
}

export interface AddressRow {
  readonly link: string;
  /** Host bits kept. */
  readonly address: Prefix;
  /** In a row that is put: whether the kernel makes a route to the address's network by itself, which nobody would put back; it does. */
  readonly hasRoute?: false;
}

export interface RouteScope {
  /** Routes with our protocol to destinations in these are ours, on any link: a change of backend is one replacement. */
  readonly networks: readonly Prefix[];
  /** Whether a `proto boot` route in the networks is one that an earlier flannel left behind, and so ours. */
  readonly adoptable: (route: KernelRoute) => boolean;
}

export interface RouteRow {
  readonly destination: Prefix;
  readonly link: string;
  readonly gateway?: Address;
  /** Believe that the gateway is on the link, whatever the routes say. */
  readonly onlink: boolean;
  /** Of a route without gateway; `link` if not given. */
  readonly scope?: "link" | "global";
}

export interface NeighborScope {
  readonly link: string;
  /** Entries outside are not ours. */
  readonly networks: readonly Prefix[];
}

export interface NeighborRow {
  readonly link: string;
  readonly destination: Address;
  readonly mac: MacAddress;
}

export interface FdbScope {
  readonly link: string;
}

/** Frames to `mac` go to `destination`, the outer address of a peer. */
export interface FdbRow {
  readonly link: string;
  readonly mac: MacAddress;
  readonly destination: Address;
}

export interface TunScope {
  readonly name: string;
  /** Whether the kernel is asked to hand over more than one packet at a time. */
  readonly offload: boolean;
  /** A descriptor that an earlier daemon left, which is ours from then on; asked whenever a device is wanted and none is held. */
  readonly inherited?: (options: Abortable) => Promise<number | undefined>;
  /** Called with every device made or adopted, whose descriptor is the listener's to close, and with undefined when none is wanted. */
  readonly onOpened: (device: TunDevice | undefined) => void;
}

export interface TunRow {
  readonly name: string;
  readonly mtu: number;
  /** Only in listed rows, where the device is down; a put always brings it up. */
  readonly up?: false;
}

/** What the kernel and a TUN device leave to each other: how large a packet may be handed over, and who computes checksums. */
export interface TunOffloads {
  /** Each packet is preceded by `struct virtio_net_hdr`, 10 bytes. The others need it. */
  readonly header: boolean;
  /** Checksums may be left to whoever gets the packet. */
  readonly checksum: boolean;
  /** TCP segments of one flow may be one packet of up to 64 KiB. */
  readonly tcp: boolean;
  /** Datagrams of one flow likewise; since Linux 6.2. */
  readonly udp: boolean;
}

export const NO_OFFLOADS: TunOffloads = { header: false, checksum: false, tcp: false, udp: false };

/** A TUN device that this process holds; it goes with its last descriptor. */
export interface TunDevice {
  readonly fd: number;
  readonly name: string;
  readonly offloads: TunOffloads;
}

/** What a descriptor of a TUN device is attached to. */
export interface AttachedTun {
  readonly name: string;
  /** As in {@link TunOffloads}. */
  readonly hasHeader: boolean;
}

/** A UDP socket bound to an IPv4 address. */
export interface UdpSocket {
  readonly fd: number;
  /** The kernel cuts one message into datagrams of equal size: UDP_SEGMENT, since Linux 4.18. */
  readonly segments: boolean;
  /** The kernel hands over datagrams of one sender as one message: UDP_GRO, since Linux 5.0. */
  readonly merges: boolean;
}

export interface UdpSocketScope {
  /** Whether the kernel is asked to cut and merge datagrams. */
  readonly offload: boolean;
  /** As of {@link TunScope}. */
  readonly inherited?: (options: Abortable) => Promise<number | undefined>;
  /** As of {@link TunScope}. */
  readonly onOpened: (socket: UdpSocket | undefined) => void;
}

/** Where a socket is bound. IPv4. */
export interface UdpSocketRow {
  readonly address: Address;
  readonly port: number;
}

export interface SysctlScope {
  readonly keys: readonly string[];
}

export interface SysctlRow {
  /** A path below `/proc/sys`: `net/ipv4/neigh/flannel.1/mcast_solicit`. */
  readonly key: string;
  readonly value: string;
}
