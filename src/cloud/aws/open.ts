import type { Abortable } from "../../lib/abortable.ts";
import { silentLogger } from "../../lib/logger.ts";
import type { CloudHost, RouteClaim, VpcRequest } from "../cloud.ts";
import type { CloudParts } from "../cloud-parts.ts";
import { type ClaimedRoutes, FormerRoutes } from "../former-routes.ts";
import { ForwardingTable } from "../forwarding-table.ts";
import { HeldSubnets } from "../held-subnets.ts";
import { pace } from "../pace.ts";
import { CloudRouteTable } from "../route-table.ts";
import { Ec2 } from "./client.ts";
import { SourceDestCheck } from "./forwarding.ts";
import { describeInstance } from "./metadata.ts";
import { VpcRoutes } from "./routes.ts";

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
    ranges,
    tables(scope) {
      const held = new HeldSubnets();
      const every = pace(checkEvery);
      const api = new VpcRoutes(ec2, self, routeTables, logger);
      return {
        held,
        routes: new CloudRouteTable({ api, scope, isHeld: (subnet) => held.has(subnet), pace: every, logger }),
        forwarding: new ForwardingTable(new SourceDestCheck(ec2, self, { notes, logger }), instance, every),
      };
    },
    formerRoutes: (claim, kept) => new FormerRoutes(claimed(claim), kept && claimed(kept)),
  };
}
