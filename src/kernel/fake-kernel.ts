import type { Table } from "../dataplane/table.ts";
import { type Address, equalAddress, formatAddress, isLinkLocal } from "../ip/address.ts";
import type { MacAddress } from "../ip/mac-address.ts";
import { containsAddress, formatPrefix, type Prefix } from "../ip/prefix.ts";
import type { Abortable } from "../lib/abortable.ts";
import { routeKey, toLinkRow, usualRoute } from "./fake/as-rows.ts";
import { FakeDescriptors } from "./fake/descriptors.ts";
import { type FakeLink, type FakeRoute, FakeStack } from "./fake/stack.ts";
import { type FakeRequests, tablesOf } from "./fake/table.ts";
import { FakeTables } from "./fake/tables.ts";
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
import { formatRoute } from "./route-format.ts";
import { addressRows, fdbRows, linkRows, neighborRows } from "./rows.ts";

/**
 * A network stack in memory with the meaning of Linux's, as far as flannel relies on it. For tests. The methods that no Kernel has
 * are what others do to it: they take rows away by hand and tell the watchers.
 */
export class FakeKernel implements Kernel, FakeRequests {
  readonly #stack = new FakeStack();
  readonly #tables = new FakeTables(this.#stack, tablesOf(this.#stack, this));
  readonly #held = new FakeDescriptors(this.#stack, tablesOf(this.#stack, this));
  /** Who else answers for an address, on whatever link. */
  readonly neighborsOnLinks = new Map<string, MacAddress>();
  /** VTEPs of other hosts that answer, by public IP. */
  readonly distantVteps = new Map<string, MacAddress>();
  /** What was asked for and done, in order: `add route 10.5.2.0/24 via 192.0.2.2 dev eth0`. */
  readonly log: string[] = [];
  /** Refuses requests: return why, or undefined to let one pass. The text is that of the log. */
  refuse: (request: string) => string | undefined = () => undefined;
  /** Awaited before each batch of changes: the kernel does not answer until it resolves. */
  pause: () => Promise<void> = async () => {};

  listLinks(_options: Abortable): Promise<readonly Link[]> {
    return Promise.resolve([...this.#stack.links.values()]);
  }

  listAddresses(_options: Abortable): Promise<readonly LinkAddress[]> {
    return Promise.resolve(
      Array.from(this.#stack.addresses.values(), (row) => ({
        ...row,
        scope: isLinkLocal(row.address.address) ? "link" : "global",
      })),
    );
  }

  listRoutes(_options: Abortable): Promise<readonly KernelRoute[]> {
    return Promise.resolve([...this.#stack.routes.values()]);
  }

  routeTo(destination: Address, _options: Abortable): Promise<RouteLookup | undefined> {
    const own = [...this.#stack.addresses.values()];
    if (own.some(({ address }) => equalAddress(address.address, destination))) return Promise.resolve(undefined);
    const connected = own.map(({ link, address }) => ({ destination: address, link, gateway: undefined, metric: 0 }));
    const [best] = [...this.#stack.routes.values(), ...connected]
      .filter(({ destination: each }) => containsAddress(each, destination))
      .toSorted((a, b) => b.destination.length - a.destination.length || a.metric - b.metric);
    if (best?.link === undefined) return Promise.resolve(undefined);
    const source = own.find(({ link, address }) => link === best.link && address.address.family === destination.family);
    return Promise.resolve({ link: best.link, gateway: best.gateway, source: source?.address.address });
  }

  findOwner(_link: string, address: Address, _options: Abortable): Promise<MacAddress | undefined> {
    return Promise.resolve(this.neighborsOnLinks.get(formatAddress(address)));
  }

  vtepAnswers({ publicIP, mac }: Vtep, _options: Abortable): Promise<boolean> {
    return Promise.resolve(this.distantVteps.get(formatAddress(publicIP)) === mac);
  }

  watchLinks(onChange: () => void): Disposable {
    return this.#stack.watchLinks(onChange);
  }

  linkTable(scope: LinkScope): Table<LinkRow> {
    return this.#tables.linkTable(scope);
  }

  addressTable(scope: AddressScope): Table<AddressRow> {
    return this.#tables.addressTable(scope);
  }

  routeTable(scope: RouteScope): Table<RouteRow> {
    return this.#tables.routeTable(scope);
  }

  neighborTable(scope: NeighborScope): Table<NeighborRow> {
    return this.#tables.neighborTable(scope);
  }

  fdbTable(scope: FdbScope): Table<FdbRow> {
    return this.#tables.fdbTable(scope);
  }

  sysctlTable(scope: SysctlScope): Table<SysctlRow> {
    return this.#tables.sysctlTable(scope);
  }

  tunTable(scope: TunScope): Table<TunRow> {
    return this.#held.tunTable(scope);
  }

  udpSocketTable(scope: UdpSocketScope): Table<UdpSocketRow> {
    return this.#held.udpSocketTable(scope);
  }

  /** Descriptors of devices and sockets in a test, by number. */
  get descriptors(): Map<number, AttachedTun | UdpSocketRow> {
    return this.#stack.descriptors;
  }

  attachedTun(fd: number): AttachedTun | undefined {
    return this.#held.attachedTun(fd);
  }

  isBoundTo(fd: number, row: UdpSocketRow): boolean {
    return this.#held.isBoundTo(fd, row);
  }

  /** A TUN device goes with its descriptor. */
  closeDescriptor(fd: number): void {
    this.#held.closeDescriptor(fd);
  }

  [Symbol.dispose](): void {
    this.#stack[Symbol.dispose]();
  }

  /** Adds a link or changes one. A new one has the sysctls of a link. */
  setLink(link: FakeLink): void {
    this.#stack.setLink(link);
  }

  /** With the link go its addresses, routes, neighbours and forwarding entries, and the devices that stand on it. */
  deleteLink(name: string): void {
    this.#stack.dropLink(name, []);
  }

  setAddress(link: string, address: Prefix): void {
    this.#stack.addresses.set(`${link} ${formatPrefix(address)}`, { link, address });
    this.#stack.tell(["addresses"]);
  }

  deleteAddress(link: string, address: Prefix): void {
    this.#stack.addresses.delete(`${link} ${formatPrefix(address)}`);
    this.#stack.tell(["addresses"]);
  }

  setRoute(route: FakeRoute): void {
    const full = usualRoute(route);
    this.#stack.routes.set(routeKey(full.destination, full.metric), full);
    this.#stack.tell(["routes"]);
  }

  deleteRoute(destination: Prefix, metric = 0): void {
    this.#stack.routes.delete(routeKey(destination, metric));
    this.#stack.tell(["routes"]);
  }

  setNeighbor(row: NeighborRow): void {
    this.#stack.neighbors.set(`${row.link} ${neighborRows.key(row)}`, row);
    this.#stack.tell(["neighbors"]);
  }

  deleteNeighbor(row: Pick<NeighborRow, "link" | "destination">): void {
    this.#stack.neighbors.delete(`${row.link} ${neighborRows.key(row as NeighborRow)}`);
    this.#stack.tell(["neighbors"]);
  }

  /** Linux does not tell of new entries: see {@link deleteFdb}. */
  setFdb(row: FdbRow): void {
    this.#stack.fdb.set(`${row.link} ${row.mac}`, row);
  }

  deleteFdb(row: Pick<FdbRow, "link" | "mac">): void {
    this.#stack.fdb.delete(`${row.link} ${row.mac}`);
    this.#stack.tell(["fdb"]);
  }

  /** Linux tells nobody. */
  setSysctl(key: string, value: string): void {
    this.#stack.sysctls.set(key, value);
  }

  sysctl(key: string): string | undefined {
    return this.#stack.sysctls.get(key);
  }

  /** Notifications were lost. */
  overrun(): void {
    this.#stack.tell();
  }

  /** All rows that flannel may have made, as a person would write them, sorted: links, then addresses, neighbours, fdb, routes. */
  show(): readonly string[] {
    return [
      ...[...this.#stack.links.values()].flatMap(toLinkRow).map((row) => `link ${linkRows.format(row)}`),
      ...[...this.#stack.addresses.values()].map((row) => `address ${addressRows.format(row)}`),
      ...[...this.#stack.neighbors.values()].map((row) => `neighbor ${neighborRows.format(row)}`),
      ...[...this.#stack.fdb.values()].map((row) => `fdb ${fdbRows.format(row)}`),
      ...[...this.#stack.routes.values()].map((route) => `route ${formatRoute(route)}`),
    ].toSorted();
  }
}
