import { formatAddress } from "../../ip/address.ts";
import type { DescriptorKeeper } from "../../kernel/descriptor-keeper.ts";
import type { Kernel, TunRow, UdpSocketRow } from "../../kernel/kernel.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { type Clock, systemClock } from "../../lib/clock.ts";
import { InvalidConfigError } from "../../lib/errors.ts";
import type { BackendType } from "../backend.ts";
import { udpOverlay } from "./backend.ts";
import { parseUdpOptions, type UdpOptions } from "./options.ts";
import { UDP_OVERHEAD } from "./overhead.ts";
import { ownAddresses } from "./own-addresses.ts";
import { PacketPath, SOCKET_DESCRIPTOR, TUN_DESCRIPTOR } from "./packet-path.ts";
import { PeerTable } from "./peer-table.ts";
import { startPacketThread } from "./thread.ts";

/** Devices as 0.7.0 names them: `flannel%d`, the first that is free. */
const DEVICE = /^flannel\d+$/;

/** @param startThread and `clock`: others in tests */
export function udpBackend(startThread: typeof startPacketThread, clock: Clock): BackendType<UdpOptions> {
  /** Names of devices of networks that live here, also of those that are about to be made. */
  const names = new Set<string>();
  return {
    families: [4],
    parseOptions: parseUdpOptions,
    async prepare({ options, config, external, kernel, keeper, routes, logger }, { signal }) {
      const unfit = [external.address, external.publicIP].find(({ family }) => family !== 4);
      if (unfit !== undefined)
        throw new InvalidConfigError("Backend.Type", `udp needs IPv4 between hosts, not ${formatAddress(unfit)}`);
      const { port, offload, acceptFrom } = options;
      const row: UdpSocketRow = { address: external.address, port };
      const inherited = await inherit(kernel, keeper, row, offload, { signal });
      const links = await kernel.listLinks({ signal }); // what was let go is free
      const addresses = await kernel.listAddresses({ signal });
      const name = inherited.device ?? freeName(new Set([...names, ...links.map((link) => link.name)]));
      names.add(name);
      return {
        attributes: () => ({ publicIP: external.publicIP }),
        abandon() {
          names.delete(name);
          inherited.close();
        },
        open(lease) {
          const path = new PacketPath({
            port,
            offload,
            networks: [config.network],
            ownSubnets: [lease.subnet],
            ownAddresses: ownAddresses(addresses),
            acceptFrom,
            logger,
            closeDescriptor: (fd) => kernel.closeDescriptor(fd),
            startThread,
          });
          const device: TunRow = { name, mtu: external.link.mtu - UDP_OVERHEAD };
          const tables = {
            sockets: kernel.udpSocketTable({
              offload,
              inherited: () => inherited.take(SOCKET_DESCRIPTOR),
              onOpened: (socket) => path.setSocket(socket),
            }),
            tuns: kernel.tunTable({
              name,
              offload,
              inherited: () => inherited.take(TUN_DESCRIPTOR),
              onOpened: (tun) => path.setTun(tun),
            }),
            addresses: kernel.addressTable({ link: name }),
            routes: kernel.routeTable(routes),
            peers: new PeerTable((peers) => path.setPeers(peers)),
          };
          const parts = { network: config.network, device, socket: row, tables, path, kernel, keeper, clock, logger };
          const backend = udpOverlay(lease, parts);
          const end = async () => {
            await backend[Symbol.asyncDispose]();
            names.delete(name);
          };
          return { ...backend, [Symbol.asyncDispose]: end };
        },
      };
    },
  };
}

export const udp: BackendType<UdpOptions> = udpBackend(startPacketThread, systemClock);

/** What an earlier daemon left open. */
interface Inherited {
  /** The name of its device. */
  readonly device: string | undefined;
  /** The descriptor of that name, once: it is the caller's from then on. */
  take(name: string): Promise<number | undefined>;
  /** Closes what nobody took. */
  close(): void;
}

/** What fits what is wanted now is gone on with; of the rest a name or a port may be needed, so it is let go before anything is made. */
async function inherit(
  kernel: Kernel,
  keeper: DescriptorKeeper,
  socket: UdpSocketRow,
  offload: boolean,
  options: Abortable,
): Promise<Inherited> {
  const kept = new Map(await keeper.take([TUN_DESCRIPTOR, SOCKET_DESCRIPTOR], options));
  const tun = kernel.attachedTun(kept.get(TUN_DESCRIPTOR) ?? -1);
  const device = tun !== undefined && DEVICE.test(tun.name) && tun.hasHeader === offload ? tun.name : undefined;
  const isBound = kernel.isBoundTo(kept.get(SOCKET_DESCRIPTOR) ?? -1, socket);
  const unfit = [...(device === undefined ? [TUN_DESCRIPTOR] : []), ...(isBound ? [] : [SOCKET_DESCRIPTOR])];
  const closed = unfit.filter((name) => kept.has(name));
  for (const name of closed) {
    kernel.closeDescriptor(kept.get(name) ?? -1);
    kept.delete(name);
  }
  if (closed.length > 0) await keeper.keep(kept, options);
  const take = (name: string) => {
    const fd = kept.get(name);
    kept.delete(name);
    return Promise.resolve(fd);
  };
  const close = () => {
    for (const fd of kept.values()) kernel.closeDescriptor(fd);
    kept.clear();
  };
  return { device, take, close };
}

function freeName(taken: ReadonlySet<string>): string {
  for (let number = 0; ; number++) if (!taken.has(`flannel${number}`)) return `flannel${number}`;
}
