import type { Family } from "../../ip/address.ts";

/** Values under `/proc/sys` by their path there, those that are there. */
export type SysctlValues = ReadonlyMap<string, string>;

/** A value under `/proc/sys` that decides whether a network's packets pass this host. */
export interface HostSetting {
  /** `net/ipv4/ip_forward` */
  readonly key: string;
  /** What it is set to if it does not suffice. */
  readonly value: string;
  /** What else must be known to tell whether it suffices. */
  readonly besides: readonly string[];
  /**
   * Whether packets pass with the values as they are. A value that is not there (no such device, no such part of the kernel) stops nothing.
   * @param isChanged whether it was changed for flannel's sake
   */
  readonly suffices: (value: string, all: SysctlValues, isChanged: boolean) => boolean;
  /** Another that counts where it is larger. */
  readonly ofAll?: string;
  /** What does not work otherwise. */
  readonly harm: string;
  /** Container runtimes usually see to it when they start. */
  readonly isUsuallySet: boolean;
  /** Of a device of ours, with which it goes. */
  readonly isOurs: boolean;
  /** It stops nothing by itself, but must be right before the next one is set. */
  readonly isPrecaution?: true;
  /** The kernel changes others along with this one. */
  readonly takesAlong?: TakenAlong;
}

/** What the kernel does to others when a switch is turned on, and what to when it is turned off again. */
export interface TakenAlong {
  /** For each link, and for those to come: a path with `*` for the link's name. */
  readonly perLink: { readonly pattern: string; readonly whenOff: string };
  readonly others: readonly { readonly key: string; readonly whenOff: string }[];
}

export interface NeedsOf {
  /** Of the overlay. */
  readonly families: readonly Family[];
  /** The link to the other hosts. */
  readonly underlay: string;
  /** Devices made for the network; none: packets travel as they are. */
  readonly devices: readonly string[];
  /** Whether a proxy leads packets to services, as Kubernetes' does. */
  readonly hasServices: boolean;
  /** Links by which this host has learned an IPv6 default route from a router. */
  readonly routed: readonly string[];
}

/** What a network needs of the host's settings, in the order in which they are to be set. Pure. */
export function hostSettings(needs: NeedsOf): readonly HostSetting[] {
  const has = (family: Family) => needs.families.includes(family);
  return [
    ...(has(4) ? [IPV4_FORWARDING, ...forwardingOfLinks(needs)] : []),
    ...(has(6) ? [...advertisedRoutes(needs), IPV6_FORWARDING] : []),
    ...(has(4) ? reversePaths(needs) : []),
    ...(needs.hasServices
      ? (["iptables", "ip6tables"] as const).filter((_, i) => has(i === 0 ? 4 : 6)).map(bridged)
      : []),
  ];
}

const NOTHING_PASSES = "this host forwards no packets between its pods and other hosts";

/** Linux, inet_forward_change(): along with it go redirects and every link's own. */
const IPV4_FORWARDING = forwarding("net/ipv4/ip_forward", {
  perLink: { pattern: "net/ipv4/conf/*/forwarding", whenOff: "0" },
  others: [{ key: "net/ipv4/conf/all/accept_redirects", whenOff: "1" }],
});

/** Linux, addrconf_fixup_forwarding(). */
const IPV6_FORWARDING = forwarding("net/ipv6/conf/all/forwarding", {
  perLink: { pattern: "net/ipv6/conf/*/forwarding", whenOff: "0" },
  others: [],
});

/** A family's switch for all links. */
function forwarding(key: string, takesAlong: TakenAlong): HostSetting {
  return {
    key,
    value: "1",
    besides: [],
    suffices: (value) => value !== "0",
    harm: NOTHING_PASSES,
    isUsuallySet: true,
    isOurs: false,
    takesAlong,
  };
}

/** A link that is left out of forwarding, by those that the overlay's packets come in. */
function forwardingOfLinks({ underlay, devices }: NeedsOf): readonly HostSetting[] {
  const links = devices.length > 0 ? devices : [underlay];
  return links.map((link) => ({
    key: `net/ipv4/conf/${link}/forwarding`,
    value: "1",
    besides: [IPV4_FORWARDING.key],
    suffices: (value, all) => value !== "0" || (all.get(IPV4_FORWARDING.key) ?? "0") === "0", // with it goes this one
    harm: "this host forwards no packets that come in by this link",
    isUsuallySet: false,
    isOurs: devices.includes(link),
  }));
}

/**
 * A host that forwards believes no router's advertisements, and drops the default routes that it has learned from them, unless
 * `accept_ra` is 2: to be set first, so that the host does not lose its way out. Where somebody else turned forwarding on, that is settled.
 */
function advertisedRoutes({ underlay, routed }: NeedsOf): readonly HostSetting[] {
  return [...new Set([underlay, ...routed])].map((link) => ({
    key: `net/ipv6/conf/${link}/accept_ra`,
    value: "2",
    besides: [IPV6_FORWARDING.key],
    suffices: (value, all, isChanged) => value !== "1" || (!isChanged && all.get(IPV6_FORWARDING.key) !== "0"),
    harm: "once this host forwards, it loses the default route that it has from a router's advertisements",
    isUsuallySet: true,
    isOurs: false,
    isPrecaution: true,
  }));
}

/**
 * With a tunnel, packets between a pod and another host's own address go one way through the tunnel and come back another: the host
 * sends to the pod through the tunnel, and the pod's subnet is not masqueraded on its way out everywhere. Strict filtering of reverse
 * paths (1; RFC 3704 §2.2) drops such, by the larger of the link's value and that of all.
 */
function reversePaths({ underlay, devices }: NeedsOf): readonly HostSetting[] {
  if (devices.length === 0) return [];
  const all = "net/ipv4/conf/all/rp_filter";
  return [underlay, ...devices].map((link) => ({
    key: `net/ipv4/conf/${link}/rp_filter`,
    value: "2",
    besides: [all],
    ofAll: all,
    suffices: (value, values) => Math.max(Number(value), Number(values.get(all) ?? 0)) !== 1,
    harm: "this host drops packets between pods and other hosts' own addresses",
    isUsuallySet: false,
    isOurs: devices.includes(link),
  }));
}

/** A service's answer that stays on the bridge must be seen by those who led the question to a pod. */
function bridged(program: "iptables" | "ip6tables"): HostSetting {
  return {
    key: `net/bridge/bridge-nf-call-${program}`,
    value: "1",
    besides: [],
    suffices: (value) => value !== "0",
    harm: "pods do not reach services that another pod of this host answers",
    isUsuallySet: true,
    isOurs: false,
  };
}

/** As sysctl(8) takes it: dots, and in a link's name slashes for them. `net.ipv4.conf.flannel/1.rp_filter` */
export function sysctlName(key: string): string {
  return key.replaceAll(/[./]/g, (sign) => (sign === "." ? "/" : "."));
}
