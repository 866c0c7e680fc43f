import { equalAddress, formatAddress } from "../../ip/address.ts";
import { InvalidConfigError } from "../../lib/errors.ts";
import type { BackendType } from "../backend.ts";
import { hostGateway } from "./backend.ts";
import { type HostGatewayOptions, parseHostGatewayOptions } from "./options.ts";

export const hostGw: BackendType<HostGatewayOptions> = {
  families: [4, 6],
  parseOptions: parseHostGatewayOptions,
  async prepare({ external, kernel, routes }) {
    if (!equalAddress(external.publicIP, external.address))
      throw new InvalidConfigError(
        "--public-ip",
        `host-gw routes through hosts' own addresses: ${formatAddress(external.publicIP)} is not ${external.link.name}'s ${formatAddress(external.address)}`,
      );
    const table = kernel.routeTable(routes);
    return {
      attributes: () => ({ publicIP: external.publicIP, backendType: "host-gw" }),
      open: (lease) => hostGateway(lease, external, table),
    };
  },
};
