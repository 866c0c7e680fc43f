import type { Cloud, RouteClaim } from "../cloud/cloud.ts";
import type { Layer } from "../dataplane/table.ts";
import type { Address, Family } from "../ip/address.ts";
import type { MacAddress } from "../ip/mac-address.ts";
import type { Prefix } from "../ip/prefix.ts";
import type { DescriptorKeeper } from "../kernel/descriptor-keeper.ts";
import type { Kernel, Link, RouteScope } from "../kernel/kernel.ts";
import type { Lease, LeaseAttributes } from "../lease/lease.ts";
import type { NetworkConfig } from "../lease/network-config.ts";
import type { LeaseFormat } from "../lease/subnet-manager.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Logger } from "../lib/logger.ts";
import type { Notes } from "../lib/notes.ts";
import type { Pulse } from "../lib/pulse.ts";

/** The link that carries packets between hosts. */
export interface ExternalInterface {
  readonly link: Link;
  /** The link's own address that outer packets come from. */
  readonly address: Address;
  /** The address that other hosts reach us by, `--public-ip`; usually the same. */
  readonly publicIP: Address;
}

/** What a backend works with: one family of a network. */
export interface OpenRequest<Options> {
  readonly options: Options;
  readonly config: NetworkConfig;
  readonly external: ExternalInterface;
  readonly leaseFormat: LeaseFormat;
  readonly kernel: Kernel;
  /** Takes descriptors from one daemon to the next. */
  readonly keeper: DescriptorKeeper;
  /** Which routes are this network's. */
  readonly routes: RouteScope;
  readonly logger: Logger;
  /** The device's MAC that an earlier run remembered. */
  readonly rememberedMac: MacAddress | undefined;
  /** What an earlier run wrote down for this one. */
  readonly notes: Notes;
  readonly cloud: Cloud;
}

/**
 * One kind of backend. A lease may have to name the device (vxlan's MAC), and the device needs the lease's address: hence two steps.
 */
export interface BackendType<Options> {
  /** Whose packets it carries; between hosts it needs the same. */
  readonly families: readonly Family[];
  /** @throws {InvalidConfigError} naming the field as `Backend.VNI` */
  parseOptions(json: unknown): Options;
  /** @throws {InvalidConfigError}, {UnsupportedError} if this host cannot do what the config asks for */
  prepare(request: OpenRequest<Options>, options: Abortable): Promise<PreparedBackend>;
}

export interface PreparedBackend {
  /** What our lease must say, given what it says already, if we have one. */
  attributes(existing: Lease | undefined): LeaseAttributes;
  open(lease: Lease): Backend;
  /** Lets go what it took over, if it is never opened after all. */
  abandon?(): void;
}

/** One family of a network on one host. Disposing closes sockets and loops; kernel state stays, so that traffic survives a restart. */
export interface Backend extends AsyncDisposable {
  readonly lease: Lease;
  /** Bytes left for a container's packet after encapsulation. */
  readonly mtu: number;
  /** Names of the devices it makes. */
  readonly links: readonly string[];
  /** What it writes outside of this host. */
  readonly claim?: RouteClaim;
  /** How its packets between hosts are known, if the host's packet filter is to let in those of peers only. */
  readonly admission?: UnderlayAdmission;
  /** UDP port that other hosts' packets come to, if they come by UDP. */
  readonly port?: number;
  /** The device's MAC, to be remembered across restarts. */
  readonly mac?: MacAddress;
  /** What must be in place to reach these peers, our own lease excluded. Pure: no I/O, no clock, no memory. */
  desired(peers: readonly Lease[]): Desired;
  /** Userspace work, if any: the udp packet path. Begun once, when what all present peers need is in place. */
  run?(options: Abortable): Promise<void>;
  /** Of a thread of its own, if it has one. */
  pulse?(): Pulse;
}

/** vxlan packets to us. */
export interface UnderlayAdmission {
  /** UDP destination port. */
  readonly port: number;
  readonly vni: number;
  /** Outer sources that are let in although they are no peer's. */
  readonly acceptFrom: readonly Prefix[];
}

/** Layers are filled in order and emptied in reverse. */
export interface Desired {
  readonly layers: readonly Layer[];
  /** Peers that this backend cannot reach, and why. */
  readonly unreachable: readonly UnreachablePeer[];
}

export interface UnreachablePeer {
  readonly subnet: Prefix;
  readonly reason: string;
}
