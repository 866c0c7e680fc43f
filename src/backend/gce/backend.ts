import type { CloudHost, CloudTables } from "../../cloud/cloud.ts";
import type { Lease } from "../../lease/lease.ts";
import type { Backend, ExternalInterface } from "../backend.ts";
import { cloudRoutes } from "../cloud-routes.ts";

/** gce: one route of the project's, from the host's own subnet to its instance. The network carries the packets. */
export function gceRoutes(lease: Lease, external: ExternalInterface, host: CloudHost, tables: CloudTables): Backend {
  const claim = { cloud: "compute-engine", routeTables: [] } as const;
  return cloudRoutes({ type: "gce", lease, external, host, tables, claim });
}
