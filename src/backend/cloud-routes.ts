import {
  type CloudHost,
  type CloudRoute,
  type CloudScope,
  type CloudTables,
  type RouteClaim,
  tablesOf,
} from "../cloud/cloud.ts";
import { layer } from "../dataplane/table.ts";
import { formatPrefix, overlaps } from "../ip/prefix.ts";
import { fitsConfig } from "../lease/allocation.ts";
import { integer } from "../lease/json-fields.ts";
import type { Lease } from "../lease/lease.ts";
import type { NetworkConfig } from "../lease/network-config.ts";
import { InvalidConfigError } from "../lib/errors.ts";
import type { Backend, ExternalInterface } from "./backend.ts";
import { perPeer } from "./per-peer.ts";
import { speaks } from "./speaks.ts";

/** Seconds between two looks at the cloud, an option of every such backend. */
export const CheckInterval = integer(5, 86_400);
export const USUAL_CHECK_INTERVAL = 600;

/** The rows of a cloud's tables that a host of this network cares for. */
export function cloudScope({ subnet }: Lease, config: NetworkConfig): CloudScope {
  return { network: config.network, subnet, isSubnet: (prefix) => fitsConfig(prefix, config) };
}

/** @throws {InvalidConfigError} if the cloud would not let the Network's routes count */
export function refuseOverlap({ ranges }: CloudHost, { network }: NetworkConfig): void {
  const own = ranges.find((range) => overlaps(range, network));
  if (own !== undefined)
    throw new InvalidConfigError(
      network.address.family === 4 ? "Network" : "IPv6Network",
      `${formatPrefix(network)} overlaps the cloud's own ${formatPrefix(own)}, which it routes itself: choose one outside`,
    );
}

export interface CloudParts {
  /** The backend's. */
  readonly type: string;
  readonly lease: Lease;
  readonly external: ExternalInterface;
  readonly host: CloudHost;
  readonly tables: CloudTables;
  readonly claim: Pick<RouteClaim, "cloud" | "routeTables">;
}

/** Every host has the cloud send it what is for its own subnet; how to reach others is their business. Nothing changes in the kernel. */
export function cloudRoutes({ type, lease, external, host, tables, claim }: CloudParts): Backend {
  const own = tablesOf(claim).map(
    (table): CloudRoute => ({ table, destination: lease.subnet, target: host.target, leadsTo: "self" }),
  );
  const held = perPeer(({ subnet }) => ({ subnet }));
  const forwarding = layer(tables.forwarding, [{ instance: host.instance, isOn: true }]);
  const routes = layer(tables.routes, own, { isFoundation: true });
  return {
    lease,
    mtu: external.link.mtu,
    links: [],
    claim: { ...claim, address: external.address, subnets: [lease.subnet] },
    desired(peers) {
      const { unreachable } = speaks(type, peers);
      return { layers: [layer(tables.held, peers.map(held)), forwarding, routes], unreachable };
    },
    async [Symbol.asyncDispose]() {},
  };
}
