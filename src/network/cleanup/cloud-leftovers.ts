import type { Cloud, RouteClaim } from "../../cloud/cloud.ts";
import { formatClaim, formerRoutes } from "../../cloud/former-claim.ts";
import { describeError, isAbort } from "../../lib/errors.ts";
import type { LeftAlone, Leftover, LeftoverSource } from "./leftover.ts";
import { tableLeftovers } from "./table-leftovers.ts";

const KIND = "route";

/** Routes in a cloud's tables that lead to this instance, by what is written down of them; a cloud is asked only if something is. */
export function cloudLeftovers(cloud: Cloud, claims: readonly RouteClaim[]): LeftoverSource {
  return {
    async find(options) {
      const leftovers: Leftover[] = [];
      const failed: LeftAlone[] = [];
      for (const claim of claims)
        try {
          const table = await formerRoutes(cloud, claim, undefined, options);
          leftovers.push(...(await tableLeftovers(KIND, table, options)));
        } catch (error) {
          if (isAbort(error, options.signal)) throw error;
          failed.push({ kind: KIND, name: formatClaim(claim), reason: describeError(error) });
        }
      return { leftovers, leftAlone: [], failed };
    },
  };
}
