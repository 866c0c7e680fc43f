import type { Plan, RowFailure, Table } from "../dataplane/table.ts";
import type { Abortable } from "../lib/abortable.ts";
import { IFF_UP, LinkMessage, RTM_DELLINK, RTM_NEWLINK, RTM_SETLINK } from "../wire/link-message.ts";
import { AF_UNSPEC, NLM_F_CREATE, NLM_F_EXCL } from "../wire/netlink-header.ts";
import { EEXIST, EINVAL, ENODEV } from "./errno.ts";
import { type Link, type LinkRow, type LinkScope, VXLAN_DEFAULT_PORT } from "./kernel.ts";
import { LINK_NOTIFICATIONS } from "./link-watch.ts";
import { toLink } from "./links.ts";
import type { Notification } from "./monitor.ts";
import { isGone, type Netlink } from "./netlink.ts";
import { netlinkRequest } from "./netlink-connection.ts";
import { NetlinkError } from "./netlink-error.ts";
import { compatibleVxlan, linkRows, sameVniAndPort } from "./rows.ts";

/** Devices of ours by name. */
export class LinkTable implements Table<LinkRow> {
  readonly name = "links";
  readonly key = linkRows.key;
  readonly equal = linkRows.equal;
  readonly format = linkRows.format;
  readonly #netlink: Netlink;
  readonly #owned: ReadonlySet<string>;
  /** As last seen, by name. */
  readonly #known = new Map<string, Link>();
  /** While set, notifications are the echo of our own doings. */
  #isApplying = false;

  constructor(netlink: Netlink, scope: LinkScope) {
    this.#netlink = netlink;
    this.#owned = new Set(scope.owned);
  }

  async list(options: Abortable): Promise<readonly LinkRow[]> {
    this.#known.clear();
    const rows: LinkRow[] = [];
    for (const name of this.#owned) {
      const link = await this.#look(name, options);
      const row = link === undefined ? undefined : toRow(link);
      if (row !== undefined) rows.push(row);
    }
    return rows;
  }

  async apply(plan: Plan<LinkRow>, options: Abortable): Promise<readonly RowFailure<LinkRow>[]> {
    const failures: RowFailure<LinkRow>[] = [];
    const attempt = async (row: LinkRow, action: () => Promise<void>) => {
      try {
        await action();
      } catch (error) {
        if (!(error instanceof NetlinkError)) throw error;
        failures.push({ row, error });
      }
    };
    this.#netlink.monitor.catchUp();
    this.#isApplying = true;
    try {
      for (const row of plan.puts) await attempt(row, () => this.#put(row, options));
      for (const row of plan.removals) await attempt(row, () => this.#remove(row, options));
      this.#netlink.monitor.catchUp();
    } finally {
      this.#isApplying = false;
    }
    return failures;
  }

  watch(onChange: () => void): Disposable {
    return this.#netlink.monitor.subscribe({
      types: LINK_NOTIFICATIONS,
      onOverrun: onChange,
      onNotification: (notification) => {
        if (!this.#isApplying && this.#isNews(notification)) onChange();
      },
    });
  }

  #isNews({ type, source, start, end }: Notification): boolean {
    if (source.bytes[start] !== AF_UNSPEC) return false;
    const message = LinkMessage.read(source, start, end);
    const name = message.name ?? "";
    const renamed = [...this.#known.values()].find((link) => link.index === message.index && link.name !== name);
    if (renamed !== undefined) return true;
    if (!this.#owned.has(name)) return false;
    const known = this.#known.get(name);
    if (type === RTM_DELLINK) return known?.index === message.index;
    if (known === undefined) return true;
    const lower = known.vxlan?.lower;
    const lowerIndex = message.info?.vxlan?.lower;
    const link = toLink(message, new Map(lower === undefined || lowerIndex === undefined ? [] : [[lowerIndex, lower]]));
    return known.index !== link.index || known.up !== link.up || known.mac !== link.mac || known.mtu !== link.mtu;
  }

  async #look(name: string, options: Abortable): Promise<Link | undefined> {
    const link = await this.#netlink.links.find(name, options);
    if (link === undefined) this.#known.delete(name);
    else this.#known.set(name, link);
    return link;
  }

  async #put(row: LinkRow, options: Abortable): Promise<void> {
    const existing = await this.#netlink.links.find(row.name, options);
    if (existing !== undefined && compatibleVxlan(row, existing)) {
      await this.#change(row, existing, options);
    } else {
      if (existing !== undefined) await this.#delete(existing, options);
      await this.#create(row, options);
    }
    const made = await this.#look(row.name, options);
    if (made === undefined) throw new NetlinkError(`add link ${this.format(row)}`, ENODEV, "it is gone again");
    if (made.mtu !== row.mtu)
      throw new NetlinkError(`add link ${this.format(row)}`, EINVAL, `the kernel made the MTU ${made.mtu}`);
  }

  async #change(row: LinkRow, link: Link, options: Abortable): Promise<void> {
    if (link.up && link.mac === row.mac && link.mtu === row.mtu) return;
    const change = {
      family: AF_UNSPEC,
      index: link.index,
      flags: IFF_UP,
      changeMask: IFF_UP,
      mac: link.mac === row.mac ? undefined : row.mac,
      mtu: link.mtu === row.mtu ? undefined : row.mtu,
    };
    await this.#request(RTM_SETLINK, 0, change, `change link ${this.format(row)}`, options);
  }

  async #create(row: LinkRow, options: Abortable): Promise<void> {
    const describe = `add link ${this.format(row)}`;
    const lower = await this.#netlink.links.state(row.lower, options);
    if (lower === undefined) throw new NetlinkError(describe, ENODEV, `there is no link ${row.lower}`);
    const { local } = row;
    const vxlan = {
      vni: row.vni,
      lower: lower.index,
      ...(local.family === 4 ? { local } : { local6: local }),
      learning: row.learning ? 1 : 0,
      port: row.port || VXLAN_DEFAULT_PORT,
      udpChecksum: 1,
      ...(row.gbp ? { gbp: true as const } : {}),
    };
    const link = {
      family: AF_UNSPEC,
      flags: IFF_UP,
      changeMask: IFF_UP,
      name: row.name,
      mac: row.mac,
      mtu: row.mtu,
      info: { kind: "vxlan", vxlan },
    };
    try {
      await this.#request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, link, describe, options);
    } catch (error) {
      if (!(error instanceof NetlinkError) || error.errno !== EEXIST) throw error;
      const other = (await this.#netlink.links.list(options)).find(
        ({ name, vxlan }) => name !== row.name && vxlan !== undefined && sameVniAndPort(row, vxlan),
      );
      if (other === undefined) throw error;
      if (other.mac !== row.mac)
        throw new NetlinkError(describe, EEXIST, `link ${other.name} has this VNI and port already`);
      await this.#delete(other, options); // our own, as its MAC tells, which somebody renamed
      await this.#request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, link, describe, options);
    }
  }

  async #remove(row: LinkRow, options: Abortable): Promise<void> {
    const link = await this.#netlink.links.find(row.name, options);
    if (link?.kind === row.kind) await this.#delete(link, options);
    this.#known.delete(row.name);
  }

  async #delete(link: Link, options: Abortable): Promise<void> {
    try {
      const which = { family: AF_UNSPEC, index: link.index };
      await this.#request(RTM_DELLINK, 0, which, `remove link ${link.name}`, options);
    } catch (error) {
      if (!(error instanceof NetlinkError) || !isGone(error)) throw error;
    }
  }

  async #request(
    type: number,
    flags: number,
    value: Parameters<typeof LinkMessage.write>[1],
    describe: string,
    options: Abortable,
  ): Promise<void> {
    const request = netlinkRequest(type, flags, LinkMessage, value, () => describe);
    const [error] = (await this.#netlink.connection.request([request], () => request, options)).values();
    if (error !== undefined) throw error;
  }
}

/** A vxlan device without local address or lower link is listed with what no row asks for, so that it is made anew or removed. */
function toRow(link: Link): LinkRow | undefined {
  if (link.vxlan === undefined || link.mac === undefined) return undefined;
  const { vxlan } = link;
  return {
    kind: "vxlan",
    name: link.name,
    mac: link.mac,
    mtu: link.mtu,
    ...vxlan,
    local: vxlan.local ?? { family: 4, value: 0n },
    lower: vxlan.lower ?? "",
    ...(link.up ? {} : { up: false as const }),
  };
}
