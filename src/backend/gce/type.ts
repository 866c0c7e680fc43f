import type { BackendType } from "../backend.ts";
import { cloudScope, refuseOverlap } from "../cloud-routes.ts";
import { gceRoutes } from "./backend.ts";
import { type GceOptions, parseGceOptions } from "./options.ts";

export const gce: BackendType<GceOptions> = {
  families: [4, 6],
  parseOptions: parseGceOptions,
  async prepare({ options, config, external, cloud, notes, logger }, { signal }) {
    const request = { address: external.address, checkEvery: options.checkInterval * 1000, notes, logger };
    const host = await cloud.openComputeEngine(request, { signal });
    refuseOverlap(host, config);
    return {
      attributes: () => ({ publicIP: external.publicIP }),
      open: (lease) => gceRoutes(lease, external, host, host.tables(cloudScope(lease, config))),
    };
  },
};
