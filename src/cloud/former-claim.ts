import type { Table } from "../dataplane/table.ts";
import { formatPrefix } from "../ip/prefix.ts";
import type { Abortable } from "../lib/abortable.ts";
import { silentLogger } from "../lib/logger.ts";
import type { Cloud, CloudRoute, RouteClaim } from "./cloud.ts";

/**
 * What is left of a claim. Only metadata is asked; the cloud's API by the table.
 * @param kept what this host claims now; undefined if nothing
 * @throws if this host is no instance of that cloud any more, or cannot find out
 */
export async function formerRoutes(
  cloud: Cloud,
  claim: RouteClaim,
  kept: RouteClaim | undefined,
  options: Abortable,
): Promise<Table<CloudRoute>> {
  const { address, routeTables } = claim;
  const notes = { get: () => undefined, set() {} };
  const request = { address, routeTables, checkEvery: Number.POSITIVE_INFINITY, notes, logger: silentLogger };
  const isVpc = claim.cloud === "vpc";
  const host = await (isVpc ? cloud.openVpc(request, options) : cloud.openComputeEngine(request, options));
  return host.formerRoutes(claim, kept?.cloud === claim.cloud ? kept : undefined);
}

/** For people: `10.5.3.0/24 in the tables rtb-0a1b2c3d of the VPC`. */
export function formatClaim({ cloud, routeTables, subnets }: RouteClaim): string {
  const destinations = subnets.map(formatPrefix).join(" and ");
  if (cloud === "compute-engine") return `${destinations} in the routes of the project`;
  const where = routeTables.length === 0 ? "the route table of the instance's subnet" : routeTables.join(" and ");
  return `${destinations} in ${where}`;
}

export function sameClaim(a: RouteClaim, b: RouteClaim): boolean {
  return formatClaim(a) === formatClaim(b);
}
