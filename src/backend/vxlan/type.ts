import { localMacAddress, type MacAddress } from "../../ip/mac-address.ts";
import { type LinkRow, VXLAN_DEFAULT_PORT } from "../../kernel/kernel.ts";
import type { Lease } from "../../lease/lease.ts";
import { InvalidConfigError } from "../../lib/errors.ts";
import type { BackendType } from "../backend.ts";
import { neighborSysctlKeys, vxlanOverlay } from "./backend.ts";
import { formatLeaseData, parseLeaseData } from "./lease-data.ts";
import { parseVxlanOptions, type VxlanOptions } from "./options.ts";
import { vxlanOverhead } from "./overhead.ts";

export const vxlan: BackendType<VxlanOptions> = {
  parseOptions: parseVxlanOptions,
  async prepare(
    { options: { vni, port, gbp, acceptFrom }, config, external, leaseFormat, kernel, routes, rememberedMac },
    { signal },
  ) {
    const name = `flannel.${vni}`;
    const present = (await kernel.listLinks({ signal })).find((link) => link.name === name && link.kind === "vxlan");
    const fallbackMac = present?.mac ?? rememberedMac ?? localMacAddress(randomBytes());
    const tables = {
      links: kernel.linkTable({ owned: [name] }),
      sysctls: kernel.sysctlTable({ keys: neighborSysctlKeys(name) }),
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
          mtu: external.link.mtu - vxlanOverhead(external.address.family),
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
