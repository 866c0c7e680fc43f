import type { Table } from "../dataplane/table.ts";
import type { Address } from "../ip/address.ts";
import type { MacAddress } from "../ip/mac-address.ts";
import type { Abortable } from "../lib/abortable.ts";
import { type Logger, silentLogger } from "../lib/logger.ts";
import { AddressMessage, RTM_DELADDR, RTM_GETADDR, RTM_NEWADDR } from "../wire/address-message.ts";
import { AF_BRIDGE, AF_UNSPEC } from "../wire/netlink-header.ts";
import { AddressTable, toLinkAddress } from "./address-table.ts";
import { findArpOwner } from "./arp-probe.ts";
import { FdbTable } from "./fdb-table.ts";
import type {
  AddressRow,
  AddressScope,
  AttachedTun,
  FdbRow,
  FdbScope,
  Kernel,
  KernelRoute,
  Link,
  LinkAddress,
  LinkRow,
  LinkScope,
  NeighborRow,
  NeighborScope,
  RouteLookup,
  RouteRow,
  RouteScope,
  SysctlRow,
  SysctlScope,
  TunRow,
  TunScope,
  UdpSocketRow,
  UdpSocketScope,
  Vtep,
} from "./kernel.ts";
import { close } from "./libc.ts";
import { LinkTable } from "./link-table.ts";
import { LINK_NOTIFICATIONS } from "./link-watch.ts";
import { Links } from "./links.ts";
import { routeMonitor } from "./monitor.ts";
import { NeighborTable } from "./neighbor-table.ts";
import type { Netlink } from "./netlink.ts";
import { NetlinkConnection } from "./netlink-connection.ts";
import { NetlinkSocket } from "./netlink-socket.ts";
import { NexthopIds } from "./nexthops.ts";
import { RouteTable } from "./route-table.ts";
import { dumpRoutes, lookUpRoute, toKernelRoute } from "./routes.ts";
import { SysctlTable } from "./sysctl-table.ts";
import { attachedTun } from "./tun.ts";
import { TunTable } from "./tun-table.ts";
import { isBoundTo } from "./udp-socket.ts";
import { UdpSocketTable } from "./udp-socket-table.ts";
import { vtepAnswers } from "./vtep-probe.ts";

export interface KernelOptions {
  /** The network namespace, a path such as `/run/netns/red`; undefined is where we are. */
  readonly namespace?: string;
  readonly logger?: Logger;
  /** False forces plain gateway routes; otherwise nexthop objects are used where the kernel has them. */
  readonly nexthops?: boolean;
}

/** @throws {SystemCallError} without the right to change the network, CAP_NET_ADMIN */
export function openKernel(options: KernelOptions = {}): Kernel {
  return new LinuxKernel(options);
}

class LinuxKernel implements Kernel {
  readonly #namespace: string | undefined;
  readonly #netlink: Netlink;
  readonly #nexthopIds = new NexthopIds();
  readonly #usesNexthops: boolean;

  constructor({ namespace, logger = silentLogger, nexthops = true }: KernelOptions) {
    this.#namespace = namespace;
    this.#usesNexthops = nexthops;
    const connection = new NetlinkConnection(new NetlinkSocket(namespace));
    try {
      const monitor = routeMonitor(namespace, connection.port, logger);
      this.#netlink = { connection, monitor, links: new Links(connection) };
    } catch (error) {
      connection[Symbol.dispose]();
      throw error;
    }
  }

  listLinks(options: Abortable): Promise<readonly Link[]> {
    return this.#netlink.links.list(options);
  }

  async listAddresses(options: Abortable): Promise<readonly LinkAddress[]> {
    const names = await this.#linkNames(options);
    const { signal } = options;
    return await this.#netlink.connection.dump(
      RTM_GETADDR,
      AddressMessage,
      { family: AF_UNSPEC },
      (address) => toLinkAddress(address, names.get(address.linkIndex) ?? ""),
      { signal, describe: "list addresses" },
    );
  }

  async listRoutes(options: Abortable): Promise<readonly KernelRoute[]> {
    const names = await this.#linkNames(options);
    const routes: KernelRoute[] = [];
    for (const family of [4, 6] as const)
      for (const route of await dumpRoutes(this.#netlink.connection, family, undefined, options))
        routes.push(toKernelRoute(route, (index) => names.get(index)));
    return routes;
  }

  async routeTo(destination: Address, options: Abortable): Promise<RouteLookup | undefined> {
    const route = await lookUpRoute(this.#netlink.connection, destination, options);
    if (route?.linkIndex === undefined) return undefined;
    const link = (await this.#linkNames(options)).get(route.linkIndex);
    return link === undefined ? undefined : { link, gateway: route.gateway, source: route.preferredSource };
  }

  async findOwner(name: string, address: Address, options: Abortable): Promise<MacAddress | undefined> {
    const links = await this.#netlink.links.list(options);
    const link = links.find((each) => each.name === name);
    // Linux answers for an address of any interface on every one: our own, on the same wire, is nobody else.
    const own = new Set(links.flatMap(({ mac }) => mac ?? []));
    return link === undefined ? undefined : await findArpOwner(link, address, own, this.#namespace, options);
  }

  vtepAnswers(vtep: Vtep, options: Abortable): Promise<boolean> {
    return vtepAnswers(vtep, this.#namespace, options);
  }

  watchLinks(onChange: () => void): Disposable {
    return this.#netlink.monitor.subscribe({
      types: [...LINK_NOTIFICATIONS, RTM_NEWADDR, RTM_DELADDR],
      onNotification: ({ source, start, port }) => {
        if (source.bytes[start] !== AF_BRIDGE && port !== this.#netlink.connection.port) onChange();
      },
      onOverrun: onChange,
    });
  }

  linkTable(scope: LinkScope): Table<LinkRow> {
    return new LinkTable(this.#netlink, scope);
  }

  addressTable(scope: AddressScope): Table<AddressRow> {
    return new AddressTable(this.#netlink, scope);
  }

  routeTable(scope: RouteScope): Table<RouteRow> {
    return new RouteTable(this.#netlink, this.#nexthopIds, this.#usesNexthops, scope);
  }

  neighborTable(scope: NeighborScope): Table<NeighborRow> {
    return new NeighborTable(this.#netlink, scope);
  }

  fdbTable(scope: FdbScope): Table<FdbRow> {
    return new FdbTable(this.#netlink, scope);
  }

  tunTable(scope: TunScope): Table<TunRow> {
    return new TunTable(this.#netlink, scope, this.#namespace);
  }

  udpSocketTable(scope: UdpSocketScope): Table<UdpSocketRow> {
    return new UdpSocketTable(scope, this.#namespace);
  }

  attachedTun(fd: number): AttachedTun | undefined {
    return attachedTun(fd);
  }

  isBoundTo(fd: number, { address, port }: UdpSocketRow): boolean {
    return isBoundTo(fd, address, port);
  }

  closeDescriptor(fd: number): void {
    close(fd);
  }

  sysctlTable(scope: SysctlScope): Table<SysctlRow> {
    return new SysctlTable(this.#netlink, this.#namespace, scope);
  }

  [Symbol.dispose](): void {
    this.#netlink.monitor[Symbol.dispose]();
    this.#netlink.connection[Symbol.dispose]();
  }

  async #linkNames(options: Abortable): Promise<ReadonlyMap<number, string>> {
    return new Map((await this.#netlink.links.list(options)).map((link) => [link.index, link.name]));
  }
}
