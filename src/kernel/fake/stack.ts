import { EEXIST, ENODEV } from "../errno.ts";
import type {
  AddressRow,
  AttachedTun,
  FdbRow,
  KernelRoute,
  Link,
  LinkRow,
  NeighborRow,
  UdpSocketRow,
} from "../kernel.ts";
import { VXLAN_DEFAULT_PORT } from "../kernel.ts";
import { compatibleVxlan, sameVniAndPort } from "../rows.ts";
import { Refusal } from "./refusal.ts";

export type Kind = "links" | "addresses" | "routes" | "neighbors" | "fdb" | "sysctls" | "sockets";

const ALL_KINDS: readonly Kind[] = ["links", "addresses", "routes", "neighbors", "fdb", "sysctls", "sockets"];

/** A link as a test describes it; what is left out is usual. */
export type FakeLink = Pick<Link, "name"> & Partial<Link>;

/** A route as a test describes it; what is left out is usual: unicast, `proto boot`, scope by whether there is a gateway. */
export type FakeRoute = Pick<KernelRoute, "destination" | "link"> & Partial<KernelRoute>;

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

/** What a kernel in memory holds, what hangs on what in there, and who is told of changes. */
export class FakeStack implements Disposable {
  readonly links = new Map<string, Link>();
  readonly addresses = new Map<string, AddressRow>();
  readonly routes = new Map<string, KernelRoute>();
  readonly neighbors = new Map<string, NeighborRow>();
  readonly fdb = new Map<string, FdbRow>();
  readonly sysctls = new Map<string, string>();
  /** Descriptors of devices and sockets, by number. */
  readonly descriptors = new Map<number, AttachedTun | UdpSocketRow>();
  /** Names of TUN devices of ours, and whether each is held. */
  readonly claims = new Map<string, () => boolean>();
  readonly #watchers = new Map<Kind, Set<() => void>>();
  readonly #linkWatchers = new Set<() => void>();
  #lastIndex = 0;

  /** Adds a link or changes one. A new one has the sysctls of a link. */
  setLink(link: FakeLink): void {
    const former = this.links.get(link.name);
    const index = former?.index ?? ++this.#lastIndex;
    this.links.set(link.name, { ...USUAL_LINK, index, ...former, ...link });
    if (former === undefined) this.#addSysctls(link.name);
    const isNews = former === undefined || former.up !== (link.up ?? former.up);
    if (isNews && link.up === false) this.flush(link.name);
    this.tell(isNews ? ALL_KINDS : ["links"]);
  }

  putLink(row: LinkRow): void {
    const there = this.links.get(row.name);
    if (there !== undefined && compatibleVxlan(row, there)) {
      this.links.set(row.name, { ...there, mac: row.mac, mtu: row.mtu, up: true, running: true });
      return;
    }
    this.need(row.lower);
    const taken = [...this.links.values()].find(
      ({ name, vxlan }) => name !== row.name && vxlan !== undefined && sameVniAndPort(vxlan, row),
    );
    if (taken !== undefined) {
      if (taken.mac !== row.mac) throw new Refusal(EEXIST, `link ${taken.name} has this VNI and port already`);
      this.dropLink(taken.name, ["links"]);
    }
    if (there !== undefined) this.dropLink(row.name, ["links"]);
    const { name, mac, mtu, vni, local, lower, gbp, learning } = row;
    const vxlan = { vni, local, lower, port: row.port || VXLAN_DEFAULT_PORT, gbp, learning };
    const index = ++this.#lastIndex;
    this.links.set(name, { ...USUAL_LINK, index, name, kind: "vxlan", mac, mtu, lower, vxlan });
    this.#addSysctls(name);
    this.tell(ALL_KINDS.filter((kind) => kind !== "links"));
  }

  /** @param ours the kinds of tables that did it and need not be told */
  dropLink(name: string, ours: readonly Kind[]): void {
    this.links.delete(name);
    for (const [fd, held] of this.descriptors)
      if ("hasHeader" in held && held.name === name) this.descriptors.delete(fd);
    this.flush(name);
    for (const [id, row] of this.addresses) if (row.link === name) this.addresses.delete(id);
    for (const [id, row] of this.fdb) if (row.link === name) this.fdb.delete(id);
    for (const key of this.sysctls.keys()) if (key.includes(`/${name}/`)) this.sysctls.delete(key);
    this.tell(ALL_KINDS.filter((kind) => !ours.includes(kind)));
    for (const link of this.links.values()) if (link.vxlan?.lower === name) this.dropLink(link.name, []);
  }

  /** What goes when a link goes down. */
  flush(link: string): void {
    for (const [id, row] of this.neighbors) if (row.link === link) this.neighbors.delete(id);
    for (const [id, route] of this.routes) if (route.link === link) this.routes.delete(id);
  }

  #addSysctls(link: string): void {
    for (const [key, value] of [
      ["mcast_solicit", "3"],
      ["app_solicit", "0"],
      ["gc_stale_time", "60"],
    ] as const)
      this.sysctls.set(`net/ipv4/neigh/${link}/${key}`, value);
    for (const [key, value] of [
      ["neigh/LINK/mcast_solicit", "3"],
      ["neigh/LINK/app_solicit", "0"],
      ["conf/LINK/accept_ra", "1"],
      ["conf/LINK/accept_dad", "1"],
      ["conf/LINK/addr_gen_mode", "0"],
    ] as const)
      this.sysctls.set(`net/ipv6/${key.replace("LINK", link)}`, value);
    this.sysctls.set(`net/ipv4/conf/${link}/forwarding`, "0");
    this.sysctls.set(`net/ipv4/conf/${link}/rp_filter`, "0");
  }

  /** Whether a device of another has the name of one of ours. */
  isForeign(name: string): boolean {
    return this.claims.get(name)?.() === false;
  }

  need(name: string): Link {
    const link = this.isForeign(name) ? undefined : this.links.get(name);
    if (link === undefined) throw new Refusal(ENODEV, `there is no link ${name}`);
    return link;
  }

  watch(kind: Kind, onChange: () => void): Disposable {
    const watchers = this.#watchers.get(kind) ?? new Set();
    // wrapped, so that one callback may watch twice
    const watcher = () => onChange();
    this.#watchers.set(kind, watchers.add(watcher));
    return { [Symbol.dispose]: () => watchers.delete(watcher) };
  }

  watchLinks(onChange: () => void): Disposable {
    this.#linkWatchers.add(onChange);
    return { [Symbol.dispose]: () => this.#linkWatchers.delete(onChange) };
  }

  tell(kinds: readonly Kind[] = ALL_KINDS): void {
    for (const kind of kinds) for (const watcher of this.#watchers.get(kind) ?? []) watcher();
    if (kinds.includes("links") || kinds.includes("addresses")) for (const watcher of this.#linkWatchers) watcher();
  }

  [Symbol.dispose](): void {
    this.#watchers.clear();
    this.#linkWatchers.clear();
  }
}
