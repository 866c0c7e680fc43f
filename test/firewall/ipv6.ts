import { addToAddress, formatAddress, parseAddress } from "../../src/ip/address.ts";
import { formatPrefix, type Prefix, parsePrefix } from "../../src/ip/prefix.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { type LabPod, POD_BRIDGE } from "../../src/lab/lab-host.ts";
import type { Namespace } from "../../src/lab/namespace.ts";

/** An overlay of IPv6 made by hand: two hosts with routes to each other's pods, and somebody outside who reaches both by the first one. */
export interface HandmadeIPv6 {
  readonly network: Prefix;
  readonly subnet: Prefix;
  /** Beyond the overlay, where the one outside is, too. */
  readonly excluded: Prefix;
  readonly addresses: {
    readonly host: string;
    readonly outside: string;
    readonly excluded: string;
    /** Of the first host's pods, then of the other's. */
    readonly pods: readonly (readonly string[])[];
    /** Of the bridge of the first host. */
    readonly gateway: string;
  };
}

const UNDERLAY = parseAddress("2001:db8:77::");
const EXCLUDED = "2001:db8:99::1";

/** @param outside has the switch's bridge */
export async function handmadeIPv6(hosts: readonly LabHost[], outside: Namespace): Promise<HandmadeIPv6> {
  const subnets = hosts.map((_, index) => parsePrefix(`fd00:5:0:${index + 1}::/64`));
  const underlay = (index: number) => formatAddress(addToAddress(UNDERLAY, BigInt(index + 1)));
  const inSubnet = (index: number, offset: number) =>
    formatAddress(addToAddress(subnets[index]?.address ?? UNDERLAY, BigInt(offset)));
  const podAddress = (host: number, pod: number) => inSubnet(host, 2 + pod);
  const pods = hosts.map((host, index) => host.pods.map((_, pod) => podAddress(index, pod)));
  await outside.ip([
    `addr add ${underlay(98)}/64 dev br0 nodad`,
    `addr add ${EXCLUDED}/128 dev br0 nodad`,
    ...subnets.map((subnet) => `route add ${formatPrefix(subnet)} via ${underlay(0)} src ${underlay(98)}`),
  ]);
  for (const [index, { namespace }] of hosts.entries()) {
    await namespace.sysctl(1, "net/ipv6/conf/all/forwarding");
    await namespace.ip([
      `addr add ${underlay(index)}/64 dev eth0 nodad`,
      `addr add ${inSubnet(index, 1)}/64 dev ${POD_BRIDGE} nodad`,
      `route add default via ${underlay(98)}`,
      ...subnets.flatMap((subnet, other) =>
        other === index ? [] : [`route add ${formatPrefix(subnet)} via ${underlay(other)}`],
      ),
    ]);
  }
  await Promise.all(
    hosts.flatMap((host, index) =>
      host.pods.map((pod, number) => equip(pod, podAddress(index, number), inSubnet(index, 1))),
    ),
  );
  const [subnet] = subnets;
  if (subnet === undefined) throw new Error("no hosts");
  return {
    network: parsePrefix("fd00:5::/48"),
    subnet,
    excluded: parsePrefix("2001:db8:99::/64"),
    addresses: { host: underlay(0), outside: underlay(98), excluded: EXCLUDED, pods, gateway: inSubnet(0, 1) },
  };
}

async function equip(pod: LabPod, address: string, gateway: string): Promise<void> {
  await pod.namespace.ip([`addr add ${address}/64 dev eth0 nodad`, `route add default via ${gateway}`]);
}
