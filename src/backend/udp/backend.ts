import { type Layer, layer, type Table } from "../../dataplane/table.ts";
import type { Address } from "../../ip/address.ts";
import type { Prefix } from "../../ip/prefix.ts";
import type { DescriptorKeeper } from "../../kernel/descriptor-keeper.ts";
import type { AddressRow, Kernel, RouteRow, TunRow, UdpSocketRow } from "../../kernel/kernel.ts";
import type { Lease } from "../../lease/lease.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Clock, Milliseconds } from "../../lib/clock.ts";
import type { Logger } from "../../lib/logger.ts";
import { Scope } from "../../lib/scope.ts";
import type { Backend, UnreachablePeer } from "../backend.ts";
import { perPeer } from "../per-peer.ts";
import { speaks } from "../speaks.ts";
import { reportDrops } from "./drop-report.ts";
import { followOwnAddresses } from "./own-addresses.ts";
import type { PacketPath } from "./packet-path.ts";
import type { PeerRow } from "./peer-table.ts";

/** Where the rows of one udp network stand. */
export interface UdpTables {
  readonly sockets: Table<UdpSocketRow>;
  readonly tuns: Table<TunRow>;
  readonly addresses: Table<AddressRow>;
  readonly routes: Table<RouteRow>;
  readonly peers: Table<PeerRow>;
}

export interface UdpParts {
  readonly network: Prefix;
  readonly device: TunRow;
  readonly socket: UdpSocketRow;
  readonly tables: UdpTables;
  readonly path: PacketPath;
  readonly kernel: Pick<Kernel, "listAddresses" | "watchLinks">;
  readonly keeper: DescriptorKeeper;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * udp: a TUN device that the whole Network leads to, a socket that other hosts' packets come to, and a thread between them that knows
 * which peer has which subnet.
 */
export function udpOverlay(lease: Lease, parts: UdpParts): Backend {
  const { network, device, socket, tables, path, kernel, keeper, clock, logger } = parts;
  const own: readonly Layer[] = [
    layer(tables.sockets, [socket], { isFoundation: true }),
    layer(tables.tuns, [device], { isFoundation: true }),
    // With the Network's length, as 0.7.0 has it; the route that the kernel makes from that would not come back once it is deleted.
    layer(
      tables.addresses,
      [{ link: device.name, address: { address: lease.subnet.address, length: network.length }, hasRoute: false }],
      { isFoundation: true },
    ),
    layer(tables.routes, [{ destination: network, link: device.name, onlink: false, scope: "link" }]),
  ];
  const row = perPeer<PeerRow>((peer) => ({ subnet: peer.subnet, publicIP: peer.attributes.publicIP }));
  return {
    lease,
    mtu: device.mtu,
    links: [device.name],
    port: socket.port,
    desired(peers) {
      const { speaking, unreachable } = speaks("udp", peers);
      const refused: UnreachablePeer[] = [];
      const rows: PeerRow[] = [];
      for (const peer of speaking) {
        if (peer.attributes.publicIP.family === 4) rows.push(row(peer));
        else refused.push({ subnet: peer.subnet, reason: "its public IP is not IPv4" });
      }
      return { layers: [layer(tables.peers, rows), ...own], unreachable: [...unreachable, ...refused] };
    },
    async run({ signal }: Abortable) {
      path.begin();
      await using scope = new Scope(signal);
      scope.spawn((signal) => keepDescriptors(path, keeper, clock, { signal }));
      const protect = (addresses: readonly Address[]) => path.setOwnAddresses(addresses);
      scope.spawn((signal) => followOwnAddresses(kernel, protect, { clock, logger, signal }));
      scope.spawn((signal) => reportDrops(path, { clock, logger, signal }));
      await scope.join();
    },
    pulse: () => path.pulse(),
    [Symbol.asyncDispose]: () => path[Symbol.asyncDispose](),
  };
}

/** Starting a process takes the main thread milliseconds that it has better use for while the network begins, or a device is mended. */
const SETTLED: Milliseconds = 200;

async function keepDescriptors(
  path: PacketPath,
  keeper: DescriptorKeeper,
  clock: Clock,
  { signal }: Abortable,
): Promise<never> {
  for (;;) {
    const descriptors = await path.descriptors({ signal });
    await clock.sleep(SETTLED, { signal });
    await keeper.keep(descriptors, { signal });
  }
}
