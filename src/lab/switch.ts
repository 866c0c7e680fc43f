import { type Address, formatAddress } from "../ip/address.ts";
import type { Prefix } from "../ip/prefix.ts";
import { hostAddress, hostNamespace, type LabName, switchAddress, switchNamespace } from "./address-plan.ts";
import { ipBatch, type LabLife, Namespace } from "./namespace.ts";

/** The lab's Ethernet: a bridge in a namespace of its own, so that the machine's own network is left alone. */
export class Switch {
  readonly namespace: Namespace;
  readonly underlay: Prefix;
  readonly mtu: number;
  readonly #lab: LabName;
  readonly #life: LabLife;

  constructor(lab: LabName, underlay: Prefix, mtu: number, life: LabLife) {
    this.#lab = lab;
    this.underlay = underlay;
    this.mtu = mtu;
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
      `link add br0 mtu ${this.mtu} type bridge`,
      `addr add ${formatAddress(this.address)}/${this.underlay.length} dev br0`,
      "link set br0 up",
    ]);
  }

  /** Makes the namespaces of hosts `first` to `last`, each plugged in. @returns their addresses */
  async plugIn(first: number, last: number): Promise<readonly Address[]> {
    const numbers = Array.from({ length: last - first + 1 }, (_, index) => first + index);
    const addresses = numbers.map((number) => hostAddress(this.underlay, number));
    await ipBatch(
      numbers.map((number) => `netns add ${hostNamespace(this.#lab, `h${number}`)}`),
      this.#life,
    );
    await this.namespace.ip(
      numbers.flatMap((number) => [
        `link add h${number} mtu ${this.mtu} type veth peer name eth0 mtu ${this.mtu} netns ${hostNamespace(this.#lab, `h${number}`)}`,
        `link set h${number} master br0 up`,
      ]),
    );
    for (const [index, number] of numbers.entries()) {
      const namespace = new Namespace(hostNamespace(this.#lab, `h${number}`), this.#life);
      await namespace.ip([
        "link set lo up",
        `addr add ${formatAddress(addresses[index] ?? this.address)}/${this.underlay.length} dev eth0`,
        "link set eth0 up",
        `route add default via ${formatAddress(this.address)}`,
      ]);
      await namespace.sysctl(1, "net/ipv4/ip_forward");
    }
    return addresses;
  }

  /** Pulls a host's cable, or puts it back. */
  async setCable(host: string, state: "up" | "down"): Promise<void> {
    await this.namespace.ip([`link set ${host} ${state}`]);
  }
}
