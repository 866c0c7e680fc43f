import type { Cloud, CloudHost, CloudRequest } from "./cloud.ts";

/**
 * A cloud for the families of one network, one after the other: whoever opens it first opens it for all, since a network interface has
 * the addresses of both, and a route table the routes.
 */
export function sharedCloud(cloud: Cloud): Cloud {
  let host: CloudHost | undefined;
  const share = async ({ address }: CloudRequest, open: () => Promise<CloudHost>): Promise<CloudHost> => {
    host ??= await open();
    host.requireAddress(address);
    return host;
  };
  return {
    openVpc: (request, options) => share(request, () => cloud.openVpc(request, options)),
    openComputeEngine: (request, options) => share(request, () => cloud.openComputeEngine(request, options)),
  };
}
