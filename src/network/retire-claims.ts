import type { Cloud, RouteClaim } from "../cloud/cloud.ts";
import { formerRoutes } from "../cloud/former-claim.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Logger } from "../lib/logger.ts";

/**
 * Removes what is left in a cloud's route tables of a claim that this host has given up.
 * @param kept what this host claims now
 * @throws why it cannot; what could be removed is
 */
export async function retireClaim(
  cloud: Cloud,
  claim: RouteClaim,
  { kept, logger, signal }: Abortable & { readonly kept?: RouteClaim | undefined; readonly logger: Logger },
): Promise<void> {
  const table = await formerRoutes(cloud, claim, kept, { signal });
  const routes = await table.list({ signal });
  const failures = await table.apply({ puts: [], removals: routes }, { signal });
  const failed = new Set(failures.map(({ row }) => row));
  for (const route of routes)
    if (!failed.has(route)) logger.info("route of an earlier config removed", { route: table.format(route) });
  if (failures[0] !== undefined) throw failures[0].error;
}
