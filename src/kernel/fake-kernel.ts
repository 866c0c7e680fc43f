import type { Plan, RowFailure, Table } from "../dataplane/table.ts";
import { type Address, equalAddress, formatAddress, isLinkLocal } from "../ip/address.ts";
import type { MacAddress } from "../ip/mac-address.ts";
import { containsAddress, containsPrefix, formatPrefix, type Prefix } from "../ip/prefix.ts";
import type { Abortable } from "../lib/abortable.ts";
import { EADDRINUSE, EADDRNOTAVAIL, EBUSY, EEXIST, ENODEV, ENOENT } from "./errno.ts";
import {
  type AddressRow,
  type AddressScope,
  type AttachedTun,
  type FdbRow,
  type FdbScope,
  type Kernel,
  type KernelRoute,
  type Link,
  type LinkAddress,
  type LinkRow,
  type LinkScope,
  type NeighborRow,
  type NeighborScope,
  ROUTE_PROTOCOL,
  type RouteLookup,
  type RouteRow,
  type RouteScope,
  type SysctlRow,
  type SysctlScope,
  type TunRow,
  type TunScope,
  type UdpSocketRow,
  type UdpSocketScope,
  type Vtep,
  VXLAN_DEFAULT_PORT,
} from "./kernel.ts";
import { NetlinkError } from "./netlink-error.ts";
import { formatRoute } from "./route-format.ts";
import {
  addressRows,
  compatibleVxlan,
  fdbRows,
  linkRows,
  neighborRows,
  type RowKind,
  routeRows,
  sameVniAndPort,
  sysctlRows,
  tunRows,
  udpSocketRows,
} from "./rows.ts";

type Kind = "links" | "addresses" | "routes" | "neighbors" | "fdb" | "sysctls" | "sockets";

/** A link as a test describes it; what is left out is usual. */
export type FakeLink = Pick<Link, "name"> & Partial<Link>;

/** A route as a test describes it; what is left out is usual: unicast, `proto boot`, scope by whether there is a gateway. */
export type FakeRoute = Pick<KernelRoute, "destination" | "link"> & Partial<KernelRoute>;

const PROTOCOL_BOOT = 3;

/**
 * A network stack in memory with the meaning of Linux's, as far as flannel relies on it. For tests. The methods that no Kernel has
 * are what others do to it: they take rows away by hand and tell the watchers.
 */
export class FakeKernel implements Kernel {
  readonly #links = new Map<string, Link>();
  readonly #addresses = new Map<string, AddressRow>();
  readonly #routes = new Map<string, KernelRoute>();
  readonly #neighbors = new Map<string, NeighborRow>();
  readonly #fdb = new Map<string, FdbRow>();
  readonly #sysctls = new Map<string, string>();
  readonly #watchers = new Map<Kind, Set<() => void>>();
  /** Names of TUN devices of ours, and whether each is held. */
  readonly #claims = new Map<string, () => boolean>();
  readonly #linkWatchers = new Set<() => void>();
  #lastIndex = 0;
  #lastDescriptor = 99;
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
    return Promise.resolve([...this.#links.values()]);
  }

  listAddresses(_options: Abortable): Promise<readonly LinkAddress[]> {
    return Promise.resolve(
      Array.from(this.#addresses.values(), (row) => ({
        ...row,
        scope: isLinkLocal(row.address.address) ? "link" : "global",
      })),
    );
  }

  listRoutes(_options: Abortable): Promise<readonly KernelRoute[]> {
    return Promise.resolve([...this.#routes.values()]);
  }

  routeTo(destination: Address, _options: Abortable): Promise<RouteLookup | undefined> {
    const own = [...this.#addresses.values()];
    if (own.some(({ address }) => equalAddress(address.address, destination))) return Promise.resolve(undefined);
    const connected = own.map(({ link, address }) => ({ destination: address, link, gateway: undefined, metric: 0 }));
    const [best] = [...this.#routes.values(), ...connected]
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
    this.#linkWatchers.add(onChange);
    return { [Symbol.dispose]: () => this.#linkWatchers.delete(onChange) };
  }

  linkTable({ owned }: LinkScope): Table<LinkRow> {
    const list = () => [...this.#links.values()].filter(({ name }) => owned.includes(name)).flatMap(toLinkRow);
    return this.#table(
      "links",
      "links",
      linkRows,
      list,
      (row) => this.#putLink(row),
      (row) => {
        if (this.#links.get(row.name)?.kind === row.kind) this.#dropLink(row.name, ["links"]);
      },
    );
  }

  addressTable({ link }: AddressScope): Table<AddressRow> {
    const list = () =>
      [...this.#addresses.values()].filter(
        (row) => row.link === link && !isLinkLocal(row.address.address) && !this.#isForeign(link),
      );
    const id = (row: AddressRow) => `${row.link} ${formatPrefix(row.address)}`;
    const put = (row: AddressRow) => {
      this.#need(row.link);
      this.#addresses.set(id(row), { link: row.link, address: row.address });
    };
    return this.#table("addresses", `addresses ${link}`, addressRows, list, put, (row) => {
      if (!this.#isForeign(link)) this.#addresses.delete(id(row));
    });
  }

  routeTable(scope: RouteScope): Table<RouteRow> {
    const adopted = new Set<string>();
    const isOurs = (route: KernelRoute) =>
      route.metric === 0 &&
      (route.protocol === ROUTE_PROTOCOL ||
        (route.protocol === PROTOCOL_BOOT && (adopted.has(formatPrefix(route.destination)) || scope.adoptable(route))));
    const isListed = (route: KernelRoute) =>
      isOurs(route) && scope.networks.some((network) => containsPrefix(network, route.destination));
    const list = () => [...this.#routes.values()].filter(isListed).flatMap(toRouteRow);
    const put = (row: RouteRow) => {
      if (!this.#need(row.link).up) throw new Refusal(ENODEV, `link ${row.link} is down`);
      const key = routeKey(row.destination, 0);
      const there = this.#routes.get(key);
      if (there !== undefined && !isOurs(there)) {
        const [actual] = toRouteRow(there);
        const isWanted = actual !== undefined && routeRows.equal(row, actual);
        if (there.protocol !== PROTOCOL_BOOT || !isWanted)
          throw new Refusal(EEXIST, `conflict: ${formatRoute(there)} is not ours`);
        adopted.add(formatPrefix(row.destination));
        return;
      }
      this.#routes.set(key, { ...usualRoute(row), protocol: ROUTE_PROTOCOL });
    };
    return this.#table("routes", "routes", routeRows, list, put, (row) => {
      const key = routeKey(row.destination, 0);
      const there = this.#routes.get(key);
      if (there !== undefined && isListed(there)) this.#routes.delete(key);
    });
  }

  neighborTable({ link, networks }: NeighborScope): Table<NeighborRow> {
    const list = () =>
      [...this.#neighbors.values()].filter(
        (row) => row.link === link && networks.some((network) => containsAddress(network, row.destination)),
      );
    const put = (row: NeighborRow) => {
      this.#need(row.link);
      this.#neighbors.set(`${row.link} ${neighborRows.key(row)}`, row);
    };
    return this.#table("neighbors", `neighbors ${link}`, neighborRows, list, put, (row) =>
      this.#neighbors.delete(`${row.link} ${neighborRows.key(row)}`),
    );
  }

  fdbTable({ link }: FdbScope): Table<FdbRow> {
    const list = () => [...this.#fdb.values()].filter((row) => row.link === link);
    const put = (row: FdbRow) => {
      this.#need(row.link);
      this.#fdb.set(`${row.link} ${row.mac}`, row);
    };
    return this.#table("fdb", `fdb ${link}`, fdbRows, list, put, (row) => this.#fdb.delete(`${row.link} ${row.mac}`));
  }

  tunTable({ name, offload, inherited, onOpened }: TunScope): Table<TunRow> {
    let fd: number | undefined;
    let offered: number | undefined;
    const isHeld = () => fd !== undefined && this.attachedTun(fd)?.name === name;
    this.#claims.set(name, isHeld);
    const list = () => (isHeld() ? [...this.#links.values()].filter((link) => link.name === name).map(toTunRow) : []);
    const offloads = { header: offload, checksum: offload, tcp: offload, udp: offload };
    const put = ({ mtu }: TunRow) => {
      if (!isHeld()) {
        const left = this.attachedTun(offered ?? -1);
        if (offered !== undefined && (left?.name !== name || left.hasHeader !== offload)) {
          this.closeDescriptor(offered);
          offered = undefined;
        }
        if (offered === undefined && this.#links.has(name)) throw new Refusal(EBUSY, `link ${name} is there already`);
        fd = offered ?? this.#open({ name, hasHeader: offload });
        if (offered === undefined) this.setLink({ name, kind: "tun", mtu });
        onOpened({ fd, name, offloads });
      }
      this.setLink({ name, mtu, up: true, running: true });
    };
    const remove = () => {
      fd = undefined;
      onOpened(undefined);
    };
    const table = this.#table("links", `tun ${name}`, tunRows, list, put, remove);
    let isApplying = false;
    return {
      ...table,
      apply: async (plan, options) => {
        offered = plan.puts.length > 0 && !isHeld() ? await inherited?.(options) : undefined;
        isApplying = true;
        try {
          return await table.apply(plan, options);
        } finally {
          isApplying = false;
        }
      },
      watch: (onChange) =>
        table.watch?.(() => {
          if (!isApplying) onChange();
        }) ?? { [Symbol.dispose]() {} },
    };
  }

  udpSocketTable({ offload, inherited, onOpened }: UdpSocketScope): Table<UdpSocketRow> {
    let held: UdpSocketRow | undefined;
    let offered: number | undefined;
    const put = (row: UdpSocketRow) => {
      if (offered !== undefined && !this.isBoundTo(offered, row)) {
        this.closeDescriptor(offered);
        offered = undefined;
      }
      const fd = offered ?? this.#bind(row);
      held = row;
      onOpened({ fd, segments: offload, merges: offload });
    };
    const list = () => (held === undefined ? [] : [held]);
    const table = this.#table("sockets", "udp socket", udpSocketRows, list, put, (row) => {
      if (row !== held) return;
      held = undefined;
      onOpened(undefined);
    });
    return {
      ...table,
      apply: async (plan, options) => {
        offered = plan.puts.length > 0 ? await inherited?.(options) : undefined;
        return await table.apply(plan, options);
      },
    };
  }

  #bind(row: UdpSocketRow): number {
    const isHere = [...this.#addresses.values()].some(({ address }) => equalAddress(address.address, row.address));
    if (!isHere) throw new Refusal(EADDRNOTAVAIL, "the address is not here");
    const isTaken = [...this.descriptors.keys()].some((fd) => this.isBoundTo(fd, row));
    if (isTaken) throw new Refusal(EADDRINUSE, "another socket is bound so");
    return this.#open(row);
  }

  #open(what: AttachedTun | UdpSocketRow): number {
    const fd = ++this.#lastDescriptor;
    this.descriptors.set(fd, what);
    return fd;
  }

  /** Descriptors of devices and sockets in a test, by number. */
  readonly descriptors = new Map<number, AttachedTun | UdpSocketRow>();

  attachedTun(fd: number): AttachedTun | undefined {
    const found = this.descriptors.get(fd);
    return found !== undefined && "hasHeader" in found ? found : undefined;
  }

  isBoundTo(fd: number, row: UdpSocketRow): boolean {
    const found = this.descriptors.get(fd);
    return found !== undefined && "port" in found && udpSocketRows.equal(row, found);
  }

  /** A TUN device goes with its descriptor. */
  closeDescriptor(fd: number): void {
    const tun = this.attachedTun(fd);
    this.descriptors.delete(fd);
    if (tun !== undefined) this.#dropLink(tun.name, []);
  }

  sysctlTable({ keys }: SysctlScope): Table<SysctlRow> {
    const list = () =>
      keys.flatMap((key) => {
        const value = this.#sysctls.get(key);
        return value === undefined ? [] : [{ key, value }];
      });
    const put = ({ key, value }: SysctlRow) => {
      if (!this.#sysctls.has(key)) throw new Refusal(ENOENT, "there is no such value");
      this.#sysctls.set(key, value);
    };
    return this.#table("sysctls", "sysctl", sysctlRows, list, put, () => {});
  }

  [Symbol.dispose](): void {
    this.#watchers.clear();
    this.#linkWatchers.clear();
  }

  /** Adds a link or changes one. A new one has the sysctls of a link. */
  setLink(link: FakeLink): void {
    const former = this.#links.get(link.name);
    const index = former?.index ?? ++this.#lastIndex;
    this.#links.set(link.name, { ...USUAL_LINK, index, ...former, ...link });
    if (former === undefined) this.#addSysctls(link.name);
    const isNews = former === undefined || former.up !== (link.up ?? former.up);
    if (isNews && link.up === false) this.#flush(link.name);
    this.#tell(isNews ? ALL_KINDS : ["links"]);
  }

  /** With the link go its addresses, routes, neighbours and forwarding entries, and the devices that stand on it. */
  deleteLink(name: string): void {
    this.#dropLink(name, []);
  }

  setAddress(link: string, address: Prefix): void {
    this.#addresses.set(`${link} ${formatPrefix(address)}`, { link, address });
    this.#tell(["addresses"]);
  }

  deleteAddress(link: string, address: Prefix): void {
    this.#addresses.delete(`${link} ${formatPrefix(address)}`);
    this.#tell(["addresses"]);
  }

  setRoute(route: FakeRoute): void {
    const full = usualRoute(route);
    this.#routes.set(routeKey(full.destination, full.metric), full);
    this.#tell(["routes"]);
  }

  deleteRoute(destination: Prefix, metric = 0): void {
    this.#routes.delete(routeKey(destination, metric));
    this.#tell(["routes"]);
  }

  setNeighbor(row: NeighborRow): void {
    this.#neighbors.set(`${row.link} ${neighborRows.key(row)}`, row);
    this.#tell(["neighbors"]);
  }

  deleteNeighbor(row: Pick<NeighborRow, "link" | "destination">): void {
    this.#neighbors.delete(`${row.link} ${neighborRows.key(row as NeighborRow)}`);
    this.#tell(["neighbors"]);
  }

  /** Linux does not tell of new entries: see {@link deleteFdb}. */
  setFdb(row: FdbRow): void {
    this.#fdb.set(`${row.link} ${row.mac}`, row);
  }

  deleteFdb(row: Pick<FdbRow, "link" | "mac">): void {
    this.#fdb.delete(`${row.link} ${row.mac}`);
    this.#tell(["fdb"]);
  }

  /** Linux tells nobody. */
  setSysctl(key: string, value: string): void {
    this.#sysctls.set(key, value);
  }

  sysctl(key: string): string | undefined {
    return this.#sysctls.get(key);
  }

  /** Notifications were lost. */
  overrun(): void {
    this.#tell(ALL_KINDS);
  }

  /** All rows that flannel may have made, as a person would write them, sorted: links, then addresses, neighbours, fdb, routes. */
  show(): readonly string[] {
    return [
      ...[...this.#links.values()].flatMap(toLinkRow).map((row) => `link ${linkRows.format(row)}`),
      ...[...this.#addresses.values()].map((row) => `address ${addressRows.format(row)}`),
      ...[...this.#neighbors.values()].map((row) => `neighbor ${neighborRows.format(row)}`),
      ...[...this.#fdb.values()].map((row) => `fdb ${fdbRows.format(row)}`),
      ...[...this.#routes.values()].map((route) => `route ${formatRoute(route)}`),
    ].toSorted();
  }

  #table<Row>(
    kind: Kind,
    name: string,
    rows: RowKind<Row>,
    list: () => readonly Row[],
    put: (row: Row) => void,
    remove: (row: Row) => void,
  ): Table<Row> {
    const attempt = (verb: string, row: Row, action: (row: Row) => void): RowFailure<Row>[] => {
      const request = `${verb} ${NOUNS[kind]} ${rows.format(row)}`;
      try {
        const reason = this.refuse(request);
        if (reason !== undefined) throw new Refusal(EEXIST, reason);
        action(row);
        this.log.push(request);
        return [];
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        return [{ row, error: new NetlinkError(request, error.errno, error.message) }];
      }
    };
    return {
      ...rows,
      name,
      list: ({ signal }) => {
        if (signal.aborted) return Promise.reject(signal.reason);
        return Promise.resolve(list());
      },
      apply: async ({ puts, removals }: Plan<Row>, { signal }) => {
        signal.throwIfAborted();
        await this.pause();
        return [
          ...puts.flatMap((row) => attempt("add", row, put)),
          ...removals.flatMap((row) => attempt("remove", row, remove)),
        ];
      },
      watch: (onChange) => {
        const watchers = this.#watchers.get(kind) ?? new Set();
        // wrapped, so that one callback may watch twice
        const watcher = () => onChange();
        this.#watchers.set(kind, watchers.add(watcher));
        return { [Symbol.dispose]: () => watchers.delete(watcher) };
      },
    };
  }

  #putLink(row: LinkRow): void {
    const there = this.#links.get(row.name);
    if (there !== undefined && compatibleVxlan(row, there)) {
      this.#links.set(row.name, { ...there, mac: row.mac, mtu: row.mtu, up: true, running: true });
      return;
    }
    this.#need(row.lower);
    const taken = [...this.#links.values()].find(
      ({ name, vxlan }) => name !== row.name && vxlan !== undefined && sameVniAndPort(vxlan, row),
    );
    if (taken !== undefined) {
      if (taken.mac !== row.mac) throw new Refusal(EEXIST, `link ${taken.name} has this VNI and port already`);
      this.#dropLink(taken.name, ["links"]);
    }
    if (there !== undefined) this.#dropLink(row.name, ["links"]);
    const { name, mac, mtu, vni, local, lower, gbp, learning } = row;
    const vxlan = { vni, local, lower, port: row.port || VXLAN_DEFAULT_PORT, gbp, learning };
    const index = ++this.#lastIndex;
    this.#links.set(name, { ...USUAL_LINK, index, name, kind: "vxlan", mac, mtu, lower, vxlan });
    this.#addSysctls(name);
    this.#tell(ALL_KINDS.filter((kind) => kind !== "links"));
  }

  /** @param ours the kinds of tables that did it and need not be told */
  #dropLink(name: string, ours: readonly Kind[]): void {
    this.#links.delete(name);
    for (const [fd, held] of this.descriptors)
      if ("hasHeader" in held && held.name === name) this.descriptors.delete(fd);
    this.#flush(name);
    for (const [id, row] of this.#addresses) if (row.link === name) this.#addresses.delete(id);
    for (const [id, row] of this.#fdb) if (row.link === name) this.#fdb.delete(id);
    for (const key of this.#sysctls.keys()) if (key.includes(`/${name}/`)) this.#sysctls.delete(key);
    this.#tell(ALL_KINDS.filter((kind) => !ours.includes(kind)));
    for (const link of this.#links.values()) if (link.vxlan?.lower === name) this.#dropLink(link.name, []);
  }

  /** What goes when a link goes down. */
  #flush(link: string): void {
    for (const [id, row] of this.#neighbors) if (row.link === link) this.#neighbors.delete(id);
    for (const [id, route] of this.#routes) if (route.link === link) this.#routes.delete(id);
  }

  #addSysctls(link: string): void {
    for (const [key, value] of [
      ["mcast_solicit", "3"],
      ["app_solicit", "0"],
      ["gc_stale_time", "60"],
    ] as const)
      this.#sysctls.set(`net/ipv4/neigh/${link}/${key}`, value);
    for (const [key, value] of [
      ["neigh/LINK/mcast_solicit", "3"],
      ["neigh/LINK/app_solicit", "0"],
      ["conf/LINK/accept_ra", "1"],
      ["conf/LINK/accept_dad", "1"],
      ["conf/LINK/addr_gen_mode", "0"],
    ] as const)
      this.#sysctls.set(`net/ipv6/${key.replace("LINK", link)}`, value);
    this.#sysctls.set(`net/ipv4/conf/${link}/forwarding`, "0");
    this.#sysctls.set(`net/ipv4/conf/${link}/rp_filter`, "0");
  }

  /** Whether a device of another has the name of one of ours. */
  #isForeign(name: string): boolean {
    return this.#claims.get(name)?.() === false;
  }

  #need(name: string): Link {
    const link = this.#isForeign(name) ? undefined : this.#links.get(name);
    if (link === undefined) throw new Refusal(ENODEV, `there is no link ${name}`);
    return link;
  }

  #tell(kinds: readonly Kind[]): void {
    for (const kind of kinds) for (const watcher of this.#watchers.get(kind) ?? []) watcher();
    if (kinds.includes("links") || kinds.includes("addresses")) for (const watcher of this.#linkWatchers) watcher();
  }
}

const ALL_KINDS: readonly Kind[] = ["links", "addresses", "routes", "neighbors", "fdb", "sysctls", "sockets"];

const NOUNS: Readonly<Record<Kind, string>> = {
  links: "link",
  addresses: "address",
  routes: "route",
  neighbors: "neighbor",
  fdb: "fdb",
  sysctls: "sysctl",
  sockets: "udp socket",
};

const USUAL_LINK: Omit<Link, "index" | "name"> = {
  kind: undefined,
  mac: undefined,
  mtu: 1500,
  up: true,
  running: true,
  loopback: false,
  master: undefined,
  lower: undefined,
  vxlan: undefined,
};

/** Thrown inside to become a RowFailure. */
class Refusal extends Error {
  readonly errno: number;

  constructor(errno: number, reason: string) {
    super(reason);
    this.errno = errno;
  }
}

function routeKey(destination: Prefix, metric: number): string {
  return `${formatPrefix(destination)} ${metric}`;
}

function usualRoute(route: FakeRoute | RouteRow): KernelRoute {
  return {
    gateway: undefined,
    onlink: false,
    protocol: PROTOCOL_BOOT,
    metric: 0,
    source: undefined,
    unicast: true,
    multipath: false,
    ...route,
    scope: route.scope ?? (route.gateway === undefined ? "link" : "global"),
  };
}

function toRouteRow({ destination, link, gateway, onlink, scope, unicast, multipath }: KernelRoute): RouteRow[] {
  if (link === undefined || !unicast || multipath) return [];
  if (gateway !== undefined) return [{ destination, link, gateway, onlink }];
  return [{ destination, link, onlink, scope: scope === "global" ? "global" : "link" }];
}

function toLinkRow({ name, mac, mtu, vxlan, up }: Link): LinkRow[] {
  if (vxlan?.local === undefined || vxlan.lower === undefined || mac === undefined) return [];
  const { local, lower } = vxlan;
  return [{ kind: "vxlan", name, mac, mtu, ...vxlan, local, lower, ...(up ? {} : { up: false }) }];
}

function toTunRow({ name, mtu, up }: Link): TunRow {
  return { name, mtu, ...(up ? {} : { up: false }) };
}
