import { parsePrefix } from "../../ip/prefix.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { silentLogger } from "../../lib/logger.ts";
import type { CloudHost, RouteClaim, VpcRequest } from "../cloud.ts";
import type { CloudParts } from "../cloud-parts.ts";
import { type ClaimedRoutes, FormerRoutes } from "../former-routes.ts";
import { hostTables } from "../host-tables.ts";
import { pace } from "../pace.ts";
import { Ec2 } from "./client.ts";
import { SourceDestCheck } from "./forwarding.ts";
import { describeInstance } from "./metadata.ts";
import { requireAddress } from "./own-address.ts";
import { VpcRoutes } from "./routes.ts";

/** EC2's own services are there, and no route may lead into them. "Subnet route tables", Amazon VPC User Guide. */
const RESERVED = ["169.254.168.0/22", "fd00:ec2::/32"].map(parsePrefix);

/** This host in its VPC. Asks the instance metadata only; EC2's API is asked by the tables, which know how to wait. */
export async function openVpc(
  { address, routeTables, checkEvery, notes, logger }: VpcRequest,
  { env }: CloudParts,
  options: Abortable,
): Promise<CloudHost> {
  const self = await describeInstance(address, env, options);
  const { instance, region, networkInterface, ranges } = self;
  logger.info("this host is an EC2 instance", { instance, region, networkInterface, vpc: self.vpc });
  const ec2 = new Ec2(self, env);
  const claimed = (claim: RouteClaim): ClaimedRoutes => ({
    claim,
    api: new VpcRoutes(ec2, self, claim.routeTables, silentLogger),
  });
  return {
    target: networkInterface,
    instance,
    ranges: [...ranges, ...RESERVED],
    requireAddress: (address) => requireAddress(address, self),
    tables: hostTables({
      routes: new VpcRoutes(ec2, self, routeTables, logger),
      forwarding: new SourceDestCheck(ec2, self, { notes, logger }),
      instance,
      pace: pace(checkEvery),
      logger,
    }),
    formerRoutes: (claim, kept) => new FormerRoutes(claimed(claim), kept && claimed(kept)),
  };
}
