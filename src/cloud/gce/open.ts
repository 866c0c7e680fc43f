import { parsePrefix } from "../../ip/prefix.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { CloudHost, CloudRequest, RouteClaim } from "../cloud.ts";
import type { CloudParts } from "../cloud-parts.ts";
import { type ClaimedRoutes, FormerRoutes } from "../former-routes.ts";
import { hostTables } from "../host-tables.ts";
import { pace } from "../pace.ts";
import { ComputeApi } from "./client.ts";
import { IpForwarding } from "./forwarding.ts";
import { describeInstance } from "./metadata.ts";
import { requireAddress } from "./own-address.ts";
import { GceRoutes } from "./routes.ts";

/** Of this every network has its own IPv6 ranges, and the metadata server its address. "Subnets", Virtual Private Cloud documentation. */
const RESERVED = parsePrefix("fd20::/20");

/** This host in its network. Asks the metadata server only; the compute API is asked by the tables, which know how to wait. */
export async function openComputeEngine(
  { address, checkEvery, logger }: CloudRequest,
  { clock, env }: CloudParts,
  options: Abortable,
): Promise<CloudHost> {
  const self = await describeInstance(address, env, options);
  const { project, zone, name, network, ranges } = self;
  logger.info("this host is a Compute Engine instance", { instance: name, project, zone, network });
  const compute = new ComputeApi(self, env, clock);
  const claimed = (claim: RouteClaim): ClaimedRoutes => ({ claim, api: new GceRoutes(compute, self) });
  return {
    target: self.path,
    instance: name,
    ranges: [...ranges, RESERVED],
    requireAddress: (address) => requireAddress(address, self),
    tables: hostTables({
      routes: new GceRoutes(compute, self),
      forwarding: new IpForwarding(compute, self, logger),
      instance: name,
      pace: pace(checkEvery),
      logger,
    }),
    formerRoutes: (claim, kept) => new FormerRoutes(claimed(claim), kept && claimed(kept)),
  };
}
