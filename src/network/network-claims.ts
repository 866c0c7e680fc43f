import { parseUdpOptions } from "../backend/udp/options.ts";
import { parseVxlanOptions } from "../backend/vxlan/options.ts";
import { formatPrefix, overlaps } from "../ip/prefix.ts";
import type { NetworkName } from "../lease/lease.ts";
import { type NetworkConfig, rangesOf } from "../lease/network-config.ts";
import { InvalidConfigError } from "../lib/errors.ts";

interface Claim {
  readonly config: NetworkConfig;
  /** What only one network of a host can have, `VNI 1`, and the field that says so. */
  readonly resource: { readonly field: string; readonly name: string } | undefined;
}

/** What the networks of one host have taken, so that no two want the same. Who was first keeps it. */
export class NetworkClaims {
  readonly #claims = new Map<NetworkName, Claim>();

  /** Takes what the config needs, in place of what the network had before. @throws {InvalidConfigError} naming the network that has it */
  claim(network: NetworkName, config: NetworkConfig): void {
    const resource = resourceOf(config);
    for (const [other, held] of this.#claims) {
      if (other === network) continue;
      const conflict = overlap(config, held.config);
      if (conflict !== undefined)
        throw new InvalidConfigError(
          conflict.mine.address.family === 4 ? "Network" : "IPv6Network",
          `${formatPrefix(conflict.mine)} overlaps ${formatPrefix(conflict.theirs)} of network ${JSON.stringify(other)} on this host`,
        );
      if (resource !== undefined && resource.name === held.resource?.name)
        throw new InvalidConfigError(
          resource.field,
          `${resource.name} is that of network ${JSON.stringify(other)} on this host already`,
        );
    }
    this.#claims.set(network, { config, resource });
  }

  release(network: NetworkName): void {
    this.#claims.delete(network);
  }
}

function overlap(mine: NetworkConfig, theirs: NetworkConfig) {
  for (const { network } of rangesOf(mine)) {
    const other = rangesOf(theirs).find((range) => overlaps(network, range.network));
    if (other !== undefined) return { mine: network, theirs: other.network };
  }
  return undefined;
}

function resourceOf({ backend }: NetworkConfig): Claim["resource"] {
  if (backend.type === "vxlan") return { field: "Backend.VNI", name: `VNI ${parseVxlanOptions(backend.options).vni}` };
  if (backend.type === "udp")
    return { field: "Backend.Port", name: `UDP port ${parseUdpOptions(backend.options).port}` };
  return undefined;
}
