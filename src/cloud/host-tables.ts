import type { Logger } from "../lib/logger.ts";
import type { CloudHost, CloudScope } from "./cloud.ts";
import { type ForwardingApi, ForwardingTable } from "./forwarding-table.ts";
import { HeldSubnets } from "./held-subnets.ts";
import type { Pace } from "./pace.ts";
import type { RouteApi } from "./route-api.ts";
import { CloudRouteTable } from "./route-table.ts";

export interface HostTablesOptions {
  readonly routes: RouteApi;
  readonly forwarding: ForwardingApi;
  /** As of a {@link CloudHost}. */
  readonly instance: string;
  readonly pace: Pace;
  readonly logger: Logger;
}

/** One set of tables for all families of a network: nobody asks a cloud twice for what is one list there. */
export function hostTables({ routes, forwarding, instance, pace, logger }: HostTablesOptions): CloudHost["tables"] {
  const scopes: CloudScope[] = [];
  const held = new HeldSubnets();
  const tables = {
    held,
    routes: new CloudRouteTable({ api: routes, scopes, isHeld: (subnet) => held.has(subnet), pace, logger }),
    forwarding: new ForwardingTable(forwarding, instance, pace),
  };
  return (scope) => {
    scopes.push(scope);
    return tables;
  };
}
