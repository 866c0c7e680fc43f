import type { Abortable } from "../../lib/abortable.ts";
import type { CloudHost, CloudRequest, RouteClaim } from "../cloud.ts";
import type { CloudParts } from "../cloud-parts.ts";
import { type ClaimedRoutes, FormerRoutes } from "../former-routes.ts";
import { ForwardingTable } from "../forwarding-table.ts";
import { HeldSubnets } from "../held-subnets.ts";
import { pace } from "../pace.ts";
import { CloudRouteTable } from "../route-table.ts";
import { ComputeApi } from "./client.ts";
import { IpForwarding } from "./forwarding.ts";
import { describeInstance } from "./metadata.ts";
import { GceRoutes } from "./routes.ts";

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
    ranges,
    tables(scope) {
      const held = new HeldSubnets();
      const every = pace(checkEvery);
      const api = new GceRoutes(compute, self);
      return {
        held,
        routes: new CloudRouteTable({ api, scope, isHeld: (subnet) => held.has(subnet), pace: every, logger }),
        forwarding: new ForwardingTable(new IpForwarding(compute, self, logger), name, every),
      };
    },
    formerRoutes: (claim, kept) => new FormerRoutes(claimed(claim), kept && claimed(kept)),
  };
}
