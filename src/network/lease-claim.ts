import type { ExternalInterface } from "../backend/backend.ts";
import { parseLeaseData } from "../backend/vxlan/lease-data.ts";
import type { VxlanOptions } from "../backend/vxlan/options.ts";
import { equalAddress, formatAddress } from "../ip/address.ts";
import type { MacAddress } from "../ip/mac-address.ts";
import { equalPrefix, firstAddress, formatPrefix } from "../ip/prefix.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Lease } from "../lease/lease.ts";
import type { Abortable } from "../lib/abortable.ts";
import { describeError, InvalidConfigError, isAbort } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import type { Heritage } from "./heritage.ts";
import type { LeaseHolder } from "./lease-holder.ts";
import { type LinkNeighbors, otherHostWith } from "./other-host.ts";

export interface ClaimParts {
  readonly kernel: LinkNeighbors & Pick<Kernel, "vtepAnswers">;
  /** Of the network, if that is its backend. */
  readonly vxlan: Pick<VxlanOptions, "vni" | "port"> | undefined;
  readonly external: ExternalInterface;
  readonly known: Heritage["known"];
  readonly holder: Pick<LeaseHolder, "ask">;
  readonly logger: Logger;
}

/**
 * Whether a lease that names our public IP may be renewed as ours. It is if this host remembers its subnet or its MAC, or if it says
 * nothing of a host: then an administrator made it. Else another host may have our address; if one answers on the link, or its VTEP behind
 * a NAT, or its flanneld through the store, it keeps its lease.
 * @throws {InvalidConfigError} naming who answers
 */
export async function claimLease(found: Lease, parts: ClaimParts, { signal }: Abortable): Promise<void> {
  const { external, holder, logger } = parts;
  if (isKnown(found, parts)) return;
  const { publicIP } = found.attributes;
  const owner = await twin(parts, { signal });
  const subnet = formatPrefix(found.subnet);
  const refusal = (who: string) =>
    new InvalidConfigError(
      "--public-ip",
      `another host, ${who}, has the address ${formatAddress(publicIP)} too, and the lease on ${subnet}: ` +
        "give one of them another address, or name another with --iface or --public-ip",
    );
  if (owner !== undefined) throw refusal(`${owner} on ${external.link.name}`);
  const vtep = await answeringVtep(found, parts, { signal });
  if (vtep !== undefined) throw refusal(`whose VTEP ${vtep} answers there`);
  const answer = await holder.ask(found, { signal });
  if (answer === "alive") throw refusal(describeHolder(found));
  if (answer === "silent") return; // it is read once more before it is taken
  logger.warn("taking over a lease that was made for this public IP and that this host does not remember", {
    subnet,
    publicIP,
    hint: "if another host has the same address (a NAT's, as in Vagrant), name the interface between the hosts with --iface",
  });
}

function isKnown(
  { subnet, attributes, isReservation }: Lease,
  { known: { subnets, macs } }: Pick<ClaimParts, "known">,
): boolean {
  const mac = macOf(attributes.backendType, attributes.backendData);
  if (mac !== undefined && macs.length > 0) return macs.includes(mac);
  return subnets.some((each) => equalPrefix(each, subnet)) || (isReservation && attributes.backendType === undefined);
}

function macOf(backendType: string | undefined, data: unknown): MacAddress | undefined {
  if (backendType !== "vxlan") return undefined;
  try {
    return parseLeaseData(data as Parameters<typeof parseLeaseData>[0]).vtepMac;
  } catch (error) {
    if (error instanceof InvalidConfigError) return undefined;
    throw error;
  }
}

/** By what its lease tells of it. */
function describeHolder({ attributes: { backendType, backendData } }: Lease): string {
  const mac = macOf(backendType, backendData);
  return mac === undefined ? "whose flanneld runs" : `whose flanneld runs and whose VTEP is ${mac}`;
}

/**
 * The VTEP that answers at a public IP that is no address of ours, as that of a NAT, which may lead to another host; where that can be found out.
 * An address that is ours leads to ourselves.
 */
async function answeringVtep(
  { subnet, attributes: { publicIP, backendType, backendData } }: Lease,
  { kernel, external, vxlan, logger }: ClaimParts,
  { signal }: Abortable,
): Promise<MacAddress | undefined> {
  const mac = macOf(backendType, backendData);
  if (external.address.family === 6 || vxlan === undefined || mac === undefined) return undefined;
  if (equalAddress(external.address, publicIP)) return undefined;
  try {
    const vtep = { ...vxlan, publicIP, mac, address: firstAddress(subnet), sender: external.address };
    return (await kernel.vtepAnswers(vtep, { signal })) ? mac : undefined;
  } catch (error) {
    if (isAbort(error, signal)) throw error;
    logger.debug("cannot find out whether a VTEP answers", { publicIP, reason: describeError(error) });
    return undefined;
  }
}

/** Who else on the link has our public IP, where that can be found out: it must be the link's own address. */
export async function twin(
  { kernel, external, logger }: Pick<ClaimParts, "kernel" | "external" | "logger">,
  { signal }: Abortable,
): Promise<MacAddress | undefined> {
  const { link, address, publicIP } = external;
  // Nobody can be asked about an address of IPv6: who is not alone with one does not get it, RFC 4862 §5.4.
  if (address.family === 6 || !equalAddress(address, publicIP)) return undefined;
  return await otherHostWith(kernel, link.name, publicIP, { signal, logger });
}
