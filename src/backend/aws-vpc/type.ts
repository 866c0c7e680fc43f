import type { BackendType } from "../backend.ts";
import { cloudScope, refuseOverlap } from "../cloud-routes.ts";
import { awsVpcRoutes } from "./backend.ts";
import { type AwsVpcOptions, parseAwsVpcOptions } from "./options.ts";

export const awsVpc: BackendType<AwsVpcOptions> = {
  families: [4, 6],
  parseOptions: parseAwsVpcOptions,
  async prepare({ options, config, external, cloud, notes, logger }, { signal }) {
    const checkEvery = options.checkInterval * 1000;
    const request = { address: external.address, routeTables: options.routeTables, checkEvery, notes, logger };
    const host = await cloud.openVpc(request, { signal });
    refuseOverlap(host, config);
    return {
      attributes: () => ({ publicIP: external.publicIP }),
      open: (lease) => awsVpcRoutes(lease, external, options, host, host.tables(cloudScope(lease, config))),
    };
  },
};
