import type { ExternalInterface } from "../../backend/backend.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import { type NetworkConfig, rangesOf } from "../../lease/network-config.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { NeedsOf } from "./needs.ts";

/** RTPROT_RA: from a router's advertisement. */
const PROTOCOL_RA = 9;

export interface NetworkOnHost {
  readonly external: ExternalInterface;
  readonly config: NetworkConfig;
  /** Devices made for it. */
  readonly links: readonly string[];
  readonly hasServices: boolean;
}

export async function readNeeds(
  kernel: Pick<Kernel, "listRoutes">,
  { external, config, links, hasServices }: NetworkOnHost,
  options: Abortable,
): Promise<NeedsOf> {
  const families = rangesOf(config).map(({ network }) => network.address.family);
  // Thousands of routes are not listed where nothing depends on them.
  const routes = families.includes(6) ? await kernel.listRoutes(options) : [];
  const learned = routes.filter(
    ({ destination, protocol }) =>
      destination.address.family === 6 && destination.length === 0 && protocol === PROTOCOL_RA,
  );
  return {
    families,
    underlay: external.link.name,
    devices: links,
    hasServices,
    routed: [...new Set(learned.flatMap(({ link }) => link ?? []))],
  };
}
