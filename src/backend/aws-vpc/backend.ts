import type { CloudHost, CloudTables } from "../../cloud/cloud.ts";
import type { Lease } from "../../lease/lease.ts";
import type { Backend, ExternalInterface } from "../backend.ts";
import { cloudRoutes } from "../cloud-routes.ts";
import type { AwsVpcOptions } from "./options.ts";

/** aws-vpc: in each route table one route, from the host's own subnet to its network interface. The VPC carries the packets. */
export function awsVpcRoutes(
  lease: Lease,
  external: ExternalInterface,
  { routeTables }: AwsVpcOptions,
  host: CloudHost,
  tables: CloudTables,
): Backend {
  return cloudRoutes({ type: "aws-vpc", lease, external, host, tables, claim: { cloud: "vpc", routeTables } });
}
