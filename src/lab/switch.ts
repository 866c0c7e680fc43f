import { type Address, formatAddress } from "../ip/address.ts";
import type { Prefix } from "../ip/prefix.ts";
import {
  BRIDGE_MAC,
  hostAddress,
  hostNamespace,
  IPV6_UNDERLAY,
  type LabName,
  switchAddress,
  switchNamespace,
} from "./address-plan.ts";
import { ipBatch, type LabLife, Namespace } from "./namespace.ts";

/** The lab's Ethernet: a bridge in a namespace of its own, so that the machine's own network is left alone. */
export class Switch {
  readonly namespace: Namespace;
  readonly underlay: Prefix;
  readonly mtu: number;
  /** Whether hosts have IPv6 addresses too. */
  readonly hasIPv6: boolean;
  readonly #lab: LabName;
  readonly #life: LabLife;

  constructor(
    lab: LabName,
    { underlay, mtu, hasIPv6 }: { readonly underlay: Prefix; readonly mtu: number; readonly hasIPv6: boolean },
    life: LabLife,
  ) {
    this.#lab = lab;
    this.underlay = underlay;
    this.mtu = mtu;
    this.hasIPv6 = hasIPv6;
    this.#life = life;
    this.namespace = new Namespace(switchNamespace(lab), life);
  }

  /** Where a real store listens; the hosts' default gateway, which leads no further. */
  get address(): Address {
    return switchAddress(this.underlay);
  }

  async build(): Promise<void> {
    await ipBatch([`netns add ${this.namespace.name}`], this.#life);
    await this.namespace.ip([
      "link set lo up",
      `link add br0 address ${BRIDGE_MAC} mtu ${this.mtu} type bridge`,
      `addr add ${formatAddress(this.address)}/${this.underlay.length} dev br0`,
      ...(this.hasIPv6
        ? [`addr add ${formatAddress(switchAddress(IPV6_UNDERLAY))}/${IPV6_UNDERLAY.length} dev br0 nodad`]
        : []),
      "link set br0 up",
    ]);
  }

  /** Makes the namespaces of hosts `first` to `last`, each plugged in. @returns their addresses */
  async plugIn(first: number, last: number): Promise<readonly Address[]> {
    const numbers = range(first, last);
    const addresses = numbers.map((number) => hostAddress(this.underlay, number));
    await ipBatch(
      numbers.map((number) => `netns add ${this.#host(number).name}`),
      this.#life,
    );
    await this.namespace.ip(numbers.flatMap((number) => this.#cable(number)));
    for (const number of numbers) {
      const namespace = this.#host(number);
      await namespace.ip([
        "link set lo up",
        `addr add ${this.#address(number)}/${this.underlay.length} dev eth0`,
        "link set eth0 up",
        `route add default via ${formatAddress(this.address)}`,
        ...(this.hasIPv6 ? ipv6Of(number) : []),
      ]);
      if (this.hasIPv6) await namespace.sysctl(1, "net/ipv6/conf/all/forwarding");
      await namespace.sysctl(1, "net/ipv4/ip_forward");
    }
    await this.#introduce(first, last);
    return addresses;
  }

  #cable(number: number): readonly string[] {
    const ends = `h${number} mtu ${this.mtu} type veth peer name eth0 mtu ${this.mtu}`;
    return [
      `link add ${ends} address ${hostMac(number)} netns ${this.#host(number).name}`,
      `link set h${number} master br0 up`,
    ];
  }

  /** Tells many hosts each other's MAC addresses, so that they need not ask. */
  async #introduce(first: number, last: number): Promise<void> {
    if (last < CROWD) return;
    for (const number of range(1, last)) {
      const isIntroduced = number < first && first > CROWD;
      const others = range(isIntroduced ? first : 1, last).filter((other) => other !== number);
      await this.#host(number).ip(
        others.map((other) => `neigh replace ${this.#address(other)} lladdr ${hostMac(other)} dev eth0 nud permanent`),
      );
    }
  }

  #host(number: number): Namespace {
    return new Namespace(hostNamespace(this.#lab, `h${number}`), this.#life);
  }

  #address(number: number): string {
    return formatAddress(hostAddress(this.underlay, number));
  }

  /** Pulls a host's cable, or puts it back. */
  async setCable(host: string, state: "up" | "down"): Promise<void> {
    await this.namespace.ip([`link set ${host} ${state}`]);
  }
}

/** Without asking first whether an address is another's, which takes a second. */
function ipv6Of(number: number): readonly string[] {
  return [
    `addr add ${formatAddress(hostAddress(IPV6_UNDERLAY, number))}/${IPV6_UNDERLAY.length} dev eth0 nodad`,
    `route add default via ${formatAddress(switchAddress(IPV6_UNDERLAY))}`,
  ];
}

/**
 * From this many hosts on, they know each other's MAC addresses from the start: what hosts learn by ARP counts against a limit
 * of the whole machine, all namespaces together, by default 1024 (net.ipv4.neigh.default.gc_thresh3), and everybody asks everybody.
 */
const CROWD = 20;

function hostMac(number: number): string {
  return `02:00:00:00:00:${number.toString(16).padStart(2, "0")}`;
}

function range(first: number, last: number): readonly number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
