import { layer, type Table } from "../../dataplane/table.ts";
import type { RouteRow } from "../../kernel/kernel.ts";
import type { Lease } from "../../lease/lease.ts";
import type { Backend, ExternalInterface } from "../backend.ts";
import { perPeer } from "../per-peer.ts";
import { speaks } from "../speaks.ts";

/** host-gw: every peer's subnet is one route through the peer's own address. All hosts must share a link. */
export function hostGateway(lease: Lease, external: ExternalInterface, routes: Table<RouteRow>): Backend {
  const route = perPeer<RouteRow>((peer) => ({
    destination: peer.subnet,
    gateway: peer.attributes.publicIP,
    link: external.link.name,
    onlink: false,
  }));
  return {
    lease,
    mtu: external.link.mtu,
    links: [],
    desired(peers) {
      const { speaking, unreachable } = speaks("host-gw", peers);
      return { layers: [layer(routes, speaking.map(route))], unreachable };
    },
    async [Symbol.asyncDispose]() {},
  };
}
