import type { Family } from "../../ip/address.ts";
import { localMacAddress, type MacAddress } from "../../ip/mac-address.ts";
import { type LinkRow, VXLAN_DEFAULT_PORT } from "../../kernel/kernel.ts";
import type { Lease } from "../../lease/lease.ts";
import { InvalidConfigError } from "../../lib/errors.ts";
import type { BackendType } from "../backend.ts";
import { quietSysctls, vxlanOverlay } from "./backend.ts";
import { formatLeaseData, parseLeaseData } from "./lease-data.ts";
import { parseVxlanOptions, type VxlanOptions } from "./options.ts";
import { vxlanOverhead } from "./overhead.ts";

export const vxlan: BackendType<VxlanOptions> = {
  families: [4, 6],
  parseOptions: parseVxlanOptions,
  async prepare(
    { options: { vni, port, gbp, acceptFrom }, config, external, leaseFormat, kernel, routes, rememberedMac },
    { signal },
  ) {
    const { family } = config.network.address;
    const name = deviceName(vni, family);
    const present = (await kernel.listLinks({ signal })).find((link) => link.name === name && link.kind === "vxlan");
    const mtu = external.link.mtu - vxlanOverhead(external.address.family);
    if (family === 6 && mtu < IPV6_MINIMUM_MTU)
      throw new InvalidConfigError(
        "EnableIPv6",
        `needs ${IPV6_MINIMUM_MTU} bytes for a packet of the overlay, and ${external.link.name}, or Backend.MTU, leaves ${mtu}`,
      );
    const fallbackMac = present?.mac ?? rememberedMac ?? localMacAddress(randomBytes());
    const tables = {
      links: kernel.linkTable({ owned: [name] }),
      sysctls: kernel.sysctlTable({ keys: quietSysctls(name, family).map(({ key }) => key) }),
      addresses: kernel.addressTable({ link: name }),
      neighbors: kernel.neighborTable({ link: name, networks: routes.networks }),
      fdb: kernel.fdbTable({ link: name }),
      routes: kernel.routeTable(routes),
    };
    return {
      attributes: (existing) => ({
        publicIP: external.publicIP,
        backendType: "vxlan",
        backendData: formatLeaseData(macOf(existing) ?? fallbackMac, vni, leaseFormat),
      }),
      open(lease) {
        const device: LinkRow = {
          kind: "vxlan",
          name,
          mac: parseLeaseData(lease.attributes.backendData).vtepMac,
          mtu,
          vni,
          local: external.address,
          lower: external.link.name,
          port,
          gbp,
          learning: false,
        };
        const admission = { port: port || VXLAN_DEFAULT_PORT, vni, acceptFrom };
        return { ...vxlanOverlay(lease, config.network, device, tables), admission, port: admission.port };
      },
    };
  },
};

/** As every flannel calls it; its IPv6 packets have a device of their own in later releases. */
function deviceName(vni: number, family: Family): string {
  return family === 4 ? `flannel.${vni}` : `flannel-v6.${vni}`;
}

/** The kernel carries no IPv6 on a device that takes less. RFC 8200 §5. */
const IPV6_MINIMUM_MTU = 1280;

/** Six bytes. A MAC is no secret, and loading node:crypto takes 10 ms. */
function randomBytes(): Uint8Array {
  return Uint8Array.from({ length: 6 }, () => Math.random() * 256);
}

/** The MAC that peers know us by; none in a lease that another backend or an administrator made. */
function macOf(lease: Lease | undefined): MacAddress | undefined {
  if (lease?.attributes.backendType !== "vxlan") return undefined;
  try {
    return parseLeaseData(lease.attributes.backendData).vtepMac;
  } catch (error) {
    if (error instanceof InvalidConfigError) return undefined;
    throw error;
  }
}
