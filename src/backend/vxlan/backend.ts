import { type Layer, layer, type Table } from "../../dataplane/table.ts";
import { addressBits, type Family } from "../../ip/address.ts";
import type { MacAddress } from "../../ip/mac-address.ts";
import type { Prefix } from "../../ip/prefix.ts";
import type { AddressRow, FdbRow, LinkRow, NeighborRow, RouteRow, SysctlRow } from "../../kernel/kernel.ts";
import type { Lease } from "../../lease/lease.ts";
import { InvalidConfigError } from "../../lib/errors.ts";
import type { Backend, UnreachablePeer } from "../backend.ts";
import { perPeer } from "../per-peer.ts";
import { speaks } from "../speaks.ts";
import { parseLeaseData } from "./lease-data.ts";

/** Where the rows of one vxlan network stand. */
export interface VxlanTables {
  readonly links: Table<LinkRow>;
  readonly sysctls: Table<SysctlRow>;
  readonly addresses: Table<AddressRow>;
  readonly neighbors: Table<NeighborRow>;
  readonly fdb: Table<FdbRow>;
  readonly routes: Table<RouteRow>;
}

interface PeerRows {
  readonly neighbor: NeighborRow;
  readonly fdb: FdbRow;
  readonly route: RouteRow;
}

/**
 * vxlan: per peer a forwarding entry for its MAC, a static neighbour entry for its subnet's first address, and an onlink route
 * through that address, so that no packet ever waits for the daemon; and the whole Network to the device, as 0.7.0 has it.
 */
export function vxlanOverlay(lease: Lease, network: Prefix, device: LinkRow, tables: VxlanTables): Backend {
  const link = device.name;
  const own: readonly Layer[] = [
    layer(tables.links, [device], { isFoundation: true }),
    layer(tables.sysctls, quietSysctls(link, network.address.family)),
    layer(
      tables.addresses,
      [{ link, address: { address: lease.subnet.address, length: addressBits(lease.subnet.address.family) } }],
      { isFoundation: true },
    ),
  ];
  const wholeNetwork: RouteRow = { destination: network, link, onlink: false, scope: "global" };
  const rows = perPeer((peer) => peerRows(peer, device));
  return {
    lease,
    mtu: device.mtu,
    links: [link],
    mac: device.mac,
    desired(peers) {
      const { speaking, unreachable } = speaks("vxlan", peers);
      const { reachable, refused } = distinct(speaking, rows);
      return {
        layers: [
          ...own,
          // The way to a MAC stands before anything is sent to that MAC: a peer that changes its own loses no packet.
          layer(
            tables.fdb,
            reachable.map((peer) => peer.fdb),
          ),
          layer(
            tables.neighbors,
            reachable.map((peer) => peer.neighbor),
          ),
          layer(tables.routes, [wholeNetwork, ...reachable.map((peer) => peer.route)]),
        ],
        unreachable: [...unreachable, ...refused],
      };
    },
    async [Symbol.asyncDispose]() {},
  };
}

/**
 * Nobody on this device answers neighbour solicitations. Without any probe an unknown destination fails at once and its entry may be
 * collected at once; with probes, a pod that scans the Network would fill the host's neighbour table with unfinished entries.
 * In IPv6 nobody is asked either whether an address is somebody else's, no router is believed, and no address is made up.
 */
export function quietSysctls(link: string, family: Family): readonly SysctlRow[] {
  const probes = ["mcast_solicit", "app_solicit"].map((key) => ({
    key: `net/ipv${family}/neigh/${link}/${key}`,
    value: "0",
  }));
  if (family === 4) return probes;
  const conf = (key: string, value: string) => ({ key: `net/ipv6/conf/${link}/${key}`, value });
  return [...probes, conf("accept_ra", "0"), conf("accept_dad", "0"), conf("addr_gen_mode", "1")];
}

/** @returns why the peer's lease is of no use, as text, if it is not */
function peerRows(peer: Lease, device: LinkRow): PeerRows | string {
  const link = device.name;
  try {
    const { vtepMac, vni } = parseLeaseData(peer.attributes.backendData);
    if (vtepMac === device.mac) return `its MAC ${vtepMac} is our own`;
    if (vni !== undefined && vni !== device.vni) return `its VNI is ${vni}, ours is ${device.vni}`;
    const gateway = peer.subnet.address;
    return {
      neighbor: { link, destination: gateway, mac: vtepMac },
      fdb: { link, mac: vtepMac, destination: peer.attributes.publicIP },
      route: { destination: peer.subnet, link, gateway, onlink: true },
    };
  } catch (error) {
    if (error instanceof InvalidConfigError) return error.message;
    throw error;
  }
}

/** A MAC leads to one host only: of several hosts that claim one, the first keeps it. */
function distinct(peers: readonly Lease[], rowsOf: (peer: Lease) => PeerRows | string) {
  const reachable: PeerRows[] = [];
  const refused: UnreachablePeer[] = [];
  const holders = new Map<MacAddress, FdbRow>();
  for (const peer of peers) {
    const rows = rowsOf(peer);
    if (typeof rows === "string") {
      refused.push({ subnet: peer.subnet, reason: rows });
      continue;
    }
    const holder = holders.get(rows.fdb.mac);
    if (holder === undefined) holders.set(rows.fdb.mac, rows.fdb);
    if (holder === undefined || holder.destination.value === rows.fdb.destination.value) reachable.push(rows);
    else refused.push({ subnet: peer.subnet, reason: `its MAC ${rows.fdb.mac} is another host's too` });
  }
  return { reachable, refused };
}
