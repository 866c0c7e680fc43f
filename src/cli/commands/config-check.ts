import { formatAddress } from "../../ip/address.ts";
import { formatPrefix } from "../../ip/prefix.ts";
import { parseNetworkConfig } from "../../lease/network-config.ts";

/** A config with its defaults, as `--json` shows it; this shape is kept. */
export interface EffectiveConfig {
  readonly Network: string;
  readonly SubnetLen: number;
  readonly SubnetMin: string;
  readonly SubnetMax: string;
  readonly Backend: Readonly<Record<string, unknown>>;
}

/** @throws {InvalidConfigError} naming the field if no flanneld of this release could run with it */
export async function checkConfig(
  text: string,
): Promise<{ readonly effective: EffectiveConfig; readonly warnings: readonly string[] }> {
  const config = parseNetworkConfig(text);
  const { backendType } = await import("../../backend/types.ts");
  const { parseUnderlayMtu } = await import("../../network/underlay-mtu.ts");
  backendType(config.backend.type).parseOptions(config.backend.options);
  parseUnderlayMtu(config.backend);
  const options = Object.entries(config.backend.options).filter(([name]) => name.toLowerCase() !== "type");
  return {
    effective: {
      Network: formatPrefix(config.network),
      SubnetLen: config.subnetLength,
      SubnetMin: formatAddress(config.subnetMin),
      SubnetMax: formatAddress(config.subnetMax),
      Backend: { Type: config.backend.type, ...Object.fromEntries(options) },
    },
    warnings: config.warnings,
  };
}

/** For people. */
export function describeConfig(config: EffectiveConfig): readonly string[] {
  const { Type, ...options } = config.Backend;
  const details = Object.entries(options).map(([name, value]) => ` ${name}=${JSON.stringify(value)}`);
  return [
    `  network   ${config.Network}`,
    `  subnets   /${config.SubnetLen} from ${config.SubnetMin} to ${config.SubnetMax}`,
    `  backend   ${String(Type)}${details.join("")}`,
  ];
}
