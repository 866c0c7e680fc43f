import type { Cloud } from "../cloud/cloud.ts";
import type { DescriptorKeeper } from "../kernel/descriptor-keeper.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { NetworkName } from "../lease/lease.ts";
import type { SubnetManager } from "../lease/subnet-manager.ts";
import type { Clock, Milliseconds } from "../lib/clock.ts";
import type { Logger } from "../lib/logger.ts";
import type { Liveness } from "../operate/liveness.ts";
import type { NetworkFirewallOptions } from "./firewall/network-firewall.ts";
import type { HostStateFile } from "./host-state.ts";
import type { NetworkClaims } from "./network-claims.ts";
import type { NetworkStatus } from "./network-status.ts";
import type { UnderlaySource } from "./overtaken.ts";
import type { SettingsRecord } from "./settings/settings-record.ts";

export interface HostSettingsPolicy {
  /** What was changed, and with it the wish to change it; undefined: only tell. */
  readonly record: SettingsRecord | undefined;
  /** Whether a proxy leads packets to services. */
  readonly hasServices: boolean;
}

export interface NetworkOptions {
  readonly name: NetworkName;
  readonly store: SubnetManager;
  readonly kernel: Kernel;
  readonly keeper: DescriptorKeeper;
  /** What the host's other networks have taken, if there are any. */
  readonly claims?: NetworkClaims;
  readonly cloud: Cloud;
  readonly underlay: UnderlaySource;
  /** The host's packet filters, and what is wanted of them; none: nobody looks after them. */
  readonly filters?: Pick<NetworkFirewallOptions, "firewall" | "policy"> | undefined;
  /** Settings of the host that packets depend on. Left out: they are looked at, and Kubernetes is not here. */
  readonly settings?: HostSettingsPolicy;
  /** Where `FLANNEL_*` is published. */
  readonly subnetFile: string;
  readonly state: HostStateFile;
  readonly renewMargin: Milliseconds;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called each time the subnet is held, its device stands and the file is written. */
  readonly onReady: () => void;
  /** Told whenever the network is another way than before; what it is given says how, also later. */
  readonly onStatus?: (status: () => NetworkStatus) => void;
  /** Has an eye on what must never be stuck. */
  readonly liveness?: Liveness;
}
