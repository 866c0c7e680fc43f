import { equalPrefix, formatPrefix, type Prefix } from "../ip/prefix.ts";
import type { DelegateConfig } from "./delegate-config.ts";
import type { SubnetFile } from "./subnet-file.ts";

/** The bridge plugin's own default. */
const USUAL_BRIDGE = "cni0";

/**
 * Which bridge still has another subnet than this host's, as one is left when the lease has changed: the bridge plugin gives no pod
 * an address then, and does not say what to do. IPv4 only, since a bridge may have several IPv6 addresses.
 * @param routes the text of /proc/net/route, where a bridge without pods is found as well
 * @returns a sentence for a person, or undefined
 */
export function describeKeptSubnet(delegate: DelegateConfig, file: SubnetFile, routes: string): string | undefined {
  const { type, bridge = USUAL_BRIDGE, isGateway, isDefaultGateway, forceAddress } = delegate;
  if (type !== "bridge" || typeof bridge !== "string") return undefined;
  if (forceAddress === true || (isGateway !== true && isDefaultGateway !== true)) return undefined;
  const own = file.subnets.find(({ address }) => address.family === 4);
  if (own === undefined) return undefined;
  const kept = connectedSubnets(routes, bridge).find((subnet) => !equalPrefix(subnet, own));
  if (kept === undefined) return undefined;
  return (
    `bridge ${bridge} still has the subnet ${formatPrefix(kept)}, but this host's is ${formatPrefix(own)}: its lease has changed. ` +
    `Take the bridge away ("ip link delete ${bridge}") and make its pods anew; the next pod brings it back`
  );
}

/** Destinations that a link reaches without a gateway. Columns: Iface Destination Gateway Flags RefCnt Use Metric Mask …; numbers in the machine's order. */
function connectedSubnets(routes: string, link: string): readonly Prefix[] {
  return routes.split("\n").flatMap((line) => {
    const [name, destination = "", gateway = "", , , , , mask = ""] = line.split(/\s+/);
    if (name !== link || !/^0{8}$/.test(gateway)) return [];
    const value = littleEndian(destination);
    const length = littleEndian(mask).toString(2).replace(/0+$/, "").length;
    return [{ address: { family: 4, value: BigInt(value) }, length } satisfies Prefix];
  });
}

function littleEndian(hex: string): number {
  const bytes = hex.match(/../g) ?? [];
  return Number.parseInt(bytes.toReversed().join(""), 16);
}
