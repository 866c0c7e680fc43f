import { formatAddress } from "../../ip/address.ts";
import type { DescriptorKeeper } from "../../kernel/descriptor-keeper.ts";
import type { Kernel, Link, TunRow, UdpSocketRow } from "../../kernel/kernel.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { InvalidConfigError } from "../../lib/errors.ts";
import type { BackendType } from "../backend.ts";
import { udpOverlay } from "./backend.ts";
import { parseUdpOptions, type UdpOptions } from "./options.ts";
import { UDP_OVERHEAD } from "./overhead.ts";
import { type DescriptorNames, PacketPath } from "./packet-path.ts";
import { PeerTable } from "./peer-table.ts";
import { startPacketThread } from "./thread.ts";

/** Devices as 0.7.0 names them: `flannel%d`, the first that is free. */
const DEVICE = /^flannel\d+$/;

/** @param startThread another one in tests */
export function udpBackend(startThread: typeof startPacketThread): BackendType<UdpOptions> {
  return {
    parseOptions: parseUdpOptions,
    async prepare({ options, config, external, kernel, keeper, routes, logger }, { signal }) {
      const unfit = [external.address, external.publicIP].find(({ family }) => family !== 4);
      if (unfit !== undefined)
        throw new InvalidConfigError("Backend.Type", `udp needs IPv4 between hosts, not ${formatAddress(unfit)}`);
      const { port, offload, acceptFrom } = options;
      const names: DescriptorNames = { tun: `udp-${port}-tun`, socket: `udp-${port}-socket` };
      const row: UdpSocketRow = { address: external.address, port };
      const inherited = await inherit(kernel, keeper, names, row, offload, { signal });
      const name = inherited.device ?? freeName(await kernel.listLinks({ signal })); // what was let go is free
      const addresses = await kernel.listAddresses({ signal });
      return {
        attributes: () => ({ publicIP: external.publicIP }),
        open(lease) {
          const path = new PacketPath({
            port,
            offload,
            networks: [config.network],
            ownSubnets: [lease.subnet],
            ownAddresses: addresses.map(({ address }) => address.address),
            acceptFrom,
            names,
            logger,
            startThread,
          });
          const device: TunRow = { name, mtu: external.link.mtu - UDP_OVERHEAD };
          const tables = {
            sockets: kernel.udpSocketTable({
              offload,
              inherited: () => inherited.take(names.socket),
              onOpened: (socket) => path.setSocket(socket),
            }),
            tuns: kernel.tunTable({
              name,
              offload,
              inherited: () => inherited.take(names.tun),
              onOpened: (tun) => path.setTun(tun),
            }),
            addresses: kernel.addressTable({ link: name }),
            routes: kernel.routeTable(routes),
            peers: new PeerTable((peers) => path.setPeers(peers)),
          };
          return udpOverlay(lease, { network: config.network, device, socket: row, tables, path, keeper });
        },
      };
    },
  };
}

export const udp: BackendType<UdpOptions> = udpBackend(startPacketThread);

/** What an earlier daemon left open. */
interface Inherited {
  /** The name of its device. */
  readonly device: string | undefined;
  /** The descriptor of that name, once: it is the caller's from then on. */
  take(name: string): Promise<number | undefined>;
}

/** Either both descriptors or none: one without the other would keep a name or a port that we need. */
async function inherit(
  kernel: Kernel,
  keeper: DescriptorKeeper,
  names: DescriptorNames,
  row: UdpSocketRow,
  offload: boolean,
  options: Abortable,
): Promise<Inherited> {
  const kept = new Map(await keeper.take([names.tun, names.socket], options));
  const tun = kernel.attachedTun(kept.get(names.tun) ?? -1);
  const isOurs = tun !== undefined && DEVICE.test(tun.name) && tun.hasHeader === offload;
  if (isOurs && kernel.isBoundTo(kept.get(names.socket) ?? -1, row)) {
    const take = (name: string) => {
      const fd = kept.get(name);
      kept.delete(name);
      return Promise.resolve(fd);
    };
    return { device: tun.name, take };
  }
  for (const fd of kept.values()) kernel.closeDescriptor(fd);
  if (kept.size > 0) await keeper.keep(new Map(), options);
  return { device: undefined, take: () => Promise.resolve(undefined) };
}

function freeName(links: readonly Link[]): string {
  const taken = new Set(links.map(({ name }) => name));
  for (let number = 0; ; number++) if (!taken.has(`flannel${number}`)) return `flannel${number}`;
}
