import type { Plan, RowFailure, Table } from "../dataplane/table.ts";
import type { Abortable } from "../lib/abortable.ts";
import { IFF_UP, LinkMessage, RTM_DELLINK, RTM_SETLINK } from "../wire/link-message.ts";
import { AF_UNSPEC } from "../wire/netlink-header.ts";
import { SystemCallError } from "./errno.ts";
import type { Link, TunDevice, TunRow, TunScope } from "./kernel.ts";
import { close } from "./libc.ts";
import { LINK_NOTIFICATIONS } from "./link-watch.ts";
import { toLink } from "./links.ts";
import type { Notification } from "./monitor.ts";
import type { Netlink } from "./netlink.ts";
import { netlinkRequest } from "./netlink-connection.ts";
import { NetlinkError } from "./netlink-error.ts";
import { tunRows } from "./rows.ts";
import { adoptTun, attachedTun, openTun } from "./tun.ts";

/** One TUN device, held open by this process: there is no device without its descriptor. */
export class TunTable implements Table<TunRow> {
  readonly name: string;
  readonly key = tunRows.key;
  readonly equal = tunRows.equal;
  readonly format = tunRows.format;
  readonly longestRetry = 1_000;
  readonly #netlink: Netlink;
  readonly #scope: TunScope;
  readonly #namespace: string | undefined;
  #device: TunDevice | undefined;
  /** As last seen. */
  #known: Link | undefined;
  /** While set, notifications are the echo of our own doings. */
  #isApplying = false;

  constructor(netlink: Netlink, scope: TunScope, namespace: string | undefined) {
    this.#netlink = netlink;
    this.#scope = scope;
    this.#namespace = namespace;
    this.name = `tun ${scope.name}`;
    netlink.links.claim(scope.name, () => this.#isHeld);
  }

  async list(options: Abortable): Promise<readonly TunRow[]> {
    const link = await this.#look(options);
    return link === undefined ? [] : [{ name: link.name, mtu: link.mtu, ...(link.up ? {} : { up: false }) }];
  }

  async apply(plan: Plan<TunRow>, options: Abortable): Promise<readonly RowFailure<TunRow>[]> {
    const failures: RowFailure<TunRow>[] = [];
    this.#netlink.monitor.catchUp();
    this.#isApplying = true;
    try {
      for (const row of plan.puts) {
        try {
          await this.#put(row, options);
        } catch (error) {
          if (!(error instanceof NetlinkError || error instanceof SystemCallError)) throw error;
          failures.push({ row, error });
        }
      }
      if (plan.removals.length > 0) this.#release();
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
    const known = this.#known;
    if (known === undefined) return false;
    const message = LinkMessage.read(source, start, end);
    if (message.index !== known.index) return false;
    if (type === RTM_DELLINK) return true;
    const link = toLink(message, new Map());
    return link.name !== known.name || link.up !== known.up || link.mtu !== known.mtu;
  }

  /** The device we hold, if it is still there under its name. */
  async #look(options: Abortable): Promise<Link | undefined> {
    this.#known = undefined;
    if (this.#isHeld) this.#known = await this.#netlink.links.find(this.#scope.name, options);
    return this.#known;
  }

  /** Whether the descriptor that we hold is that of the device of this name. */
  get #isHeld(): boolean {
    return this.#device !== undefined && attachedTun(this.#device.fd)?.name === this.#scope.name;
  }

  async #put(row: TunRow, options: Abortable): Promise<void> {
    let link = await this.#look(options);
    if (link === undefined) {
      this.#device = (await this.#adopt(options)) ?? openTun(row.name, this.#scope.offload, this.#namespace);
      this.#scope.onOpened(this.#device);
      link = await this.#look(options);
      if (link === undefined) throw new NetlinkError(`add link ${this.format(row)}`, 0, "it is gone again");
    }
    if (link.up && link.mtu === row.mtu) return;
    const change = { family: AF_UNSPEC, index: link.index, flags: IFF_UP, changeMask: IFF_UP, mtu: row.mtu };
    const request = netlinkRequest(RTM_SETLINK, 0, LinkMessage, change, () => `change link ${this.format(row)}`);
    const [error] = (await this.#netlink.connection.request([request], () => request, options)).values();
    if (error !== undefined) throw error;
    await this.#look(options);
  }

  /** The device of an earlier daemon, with the packets that wait in it. */
  async #adopt(options: Abortable): Promise<TunDevice | undefined> {
    const fd = await this.#scope.inherited?.(options);
    if (fd === undefined) return undefined;
    const device = adoptTun(fd, this.#scope.name, this.#scope.offload);
    if (device === undefined) close(fd);
    return device;
  }

  #release(): void {
    this.#device = undefined;
    this.#known = undefined;
    this.#scope.onOpened(undefined);
  }
}
