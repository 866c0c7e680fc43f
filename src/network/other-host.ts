import type { Address } from "../ip/address.ts";
import type { MacAddress } from "../ip/mac-address.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Abortable } from "../lib/abortable.ts";
import { describeError, isAbort } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import { defaultRoutes } from "./host-links.ts";

export interface LinkNeighbors extends Pick<Kernel, "findOwner" | "listRoutes"> {}

/**
 * Who else on a link has an address. A router that answers for every address (proxy ARP, as in some clouds) is nobody.
 * @returns undefined if nobody does, or it cannot be found out
 */
export async function otherHostWith(
  kernel: LinkNeighbors,
  link: string,
  address: Address,
  { signal, logger }: Abortable & { readonly logger: Logger },
): Promise<MacAddress | undefined> {
  try {
    const owner = await kernel.findOwner(link, address, { signal });
    if (owner === undefined) return undefined;
    const routers = defaultRoutes(await kernel.listRoutes({ signal })).filter((route) => route.link === link);
    for (const { gateway } of routers)
      if (gateway !== undefined && (await kernel.findOwner(link, gateway, { signal })) === owner) return undefined;
    return owner;
  } catch (error) {
    if (isAbort(error, signal)) throw error;
    logger.debug("cannot find out whether another host has this address", { address, reason: describeError(error) });
    return undefined;
  }
}
