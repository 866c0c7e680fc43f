import type { Plan, RowFailure, Table } from "../dataplane/table.ts";
import type { Address, Family } from "../ip/address.ts";
import { isUnicastMacAddress, type MacAddress } from "../ip/mac-address.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { ValueOf } from "../wire/codec.ts";
import { hardwareAddress } from "../wire/codecs.ts";
import {
  NDA_LLADDR,
  NeighborMessage,
  NTF_SELF,
  NUD_PERMANENT,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
} from "../wire/neighbor-message.ts";
import { AF_BRIDGE, NLM_F_CREATE, NLM_F_REPLACE } from "../wire/netlink-header.ts";
import { findAttribute } from "../wire/schema.ts";
import { LITTLE_ENDIAN } from "../wire/writer.ts";
import type { FdbRow, FdbScope } from "./kernel.ts";
import { LINK_NOTIFICATIONS, LinkWatch } from "./link-watch.ts";
import { MAC_TEXT_LENGTH } from "./links.ts";
import type { Notification } from "./monitor.ts";
import { applyRows, type Netlink, withoutLink } from "./netlink.ts";
import { type NetlinkRequest, netlinkRequest } from "./netlink-connection.ts";
import { fdbRows } from "./rows.ts";

/** Which peer a vxlan device sends frames for a station to: its permanent unicast entries. */
export class FdbTable implements Table<FdbRow> {
  readonly name: string;
  readonly key = fdbRows.key;
  readonly equal = fdbRows.equal;
  readonly format = fdbRows.format;
  readonly #netlink: Netlink;
  readonly #scope: FdbScope;
  readonly #link = new LinkWatch();
  /** What should be there by our last look and our own doings: notifications of removals do not say who removed. */
  readonly #known = new Set<string>();

  constructor(netlink: Netlink, scope: FdbScope) {
    this.#netlink = netlink;
    this.#scope = scope;
    this.name = `fdb ${scope.link}`;
  }

  async list({ signal }: Abortable): Promise<readonly FdbRow[]> {
    const index = await this.#look({ signal });
    this.#known.clear();
    if (index === undefined) return [];
    const filter = { family: AF_BRIDGE, linkIndex: index };
    return await this.#netlink.connection.dump(
      RTM_GETNEIGH,
      NeighborMessage,
      filter,
      (entry) => {
        const { destination, linkLayerAddress } = entry;
        if (entry.linkIndex !== index || (entry.state & NUD_PERMANENT) === 0 || (entry.flags & NTF_SELF) === 0)
          return undefined;
        if (destination === undefined || linkLayerAddress?.length !== MAC_TEXT_LENGTH) return undefined;
        const mac = linkLayerAddress as MacAddress;
        if (!isUnicastMacAddress(mac)) return undefined;
        this.#known.add(mac);
        return { link: this.#scope.link, mac, destination: isPlain(entry) ? destination : nowhere(destination.family) };
      },
      { signal, describe: `list ${this.name}` },
    );
  }

  async apply(plan: Plan<FdbRow>, options: Abortable): Promise<readonly RowFailure<FdbRow>[]> {
    const index = await this.#look(options);
    if (index === undefined) return withoutLink(plan, this.#scope.link, (row) => `add fdb ${this.format(row)}`);
    for (const row of plan.removals) this.#known.delete(row.mac);
    for (const row of plan.puts) this.#known.add(row.mac);
    const failures = await applyRows(
      this.#netlink.connection,
      plan,
      (row) => this.#request(RTM_NEWNEIGH, row, index),
      (row) => this.#request(RTM_DELNEIGH, row, index),
      options,
    );
    for (const { row } of failures) this.#known.delete(row.mac);
    return failures;
  }

  watch(onChange: () => void): Disposable {
    return this.#netlink.monitor.subscribe({
      types: [...LINK_NOTIFICATIONS, RTM_DELNEIGH],
      onOverrun: onChange,
      onNotification: (notification) => {
        if (this.#isNews(notification)) onChange();
      },
    });
  }

  #isNews(notification: Notification): boolean {
    const { type, source, start, end } = notification;
    if (type !== RTM_DELNEIGH) return this.#link.notice(notification) !== undefined;
    if (source.bytes[start] !== AF_BRIDGE) return false;
    if (source.view.getUint32(start + 4, LITTLE_ENDIAN) !== this.#link.index(this.#scope.link)) return false;
    const [from, to] = findAttribute(source, start + NeighborMessage.headerSize, end, NDA_LLADDR);
    return from >= 0 && this.#known.has(hardwareAddress.read(source, from, to));
  }

  async #look(options: Abortable): Promise<number | undefined> {
    const state = await this.#netlink.links.state(this.#scope.link, options);
    this.#link.saw(this.#scope.link, state);
    return state?.index;
  }

  #request(type: number, row: FdbRow, linkIndex: number): NetlinkRequest {
    const added = type === RTM_NEWNEIGH;
    return netlinkRequest(
      type,
      added ? NLM_F_CREATE | NLM_F_REPLACE : 0,
      NeighborMessage,
      {
        family: AF_BRIDGE,
        linkIndex,
        state: NUD_PERMANENT,
        flags: NTF_SELF,
        destination: row.destination,
        linkLayerAddress: row.mac,
      },
      () => `${added ? "add" : "remove"} fdb ${this.format(row)}`,
    );
  }
}

/** Whether the packets go to the device's own port and network, out of its own link. */
function isPlain({ port, vni, outLink }: ValueOf<typeof NeighborMessage>): boolean {
  return port === undefined && vni === undefined && outLink === undefined;
}

/** Stands for a destination that no row can describe, so that the entry is replaced or removed. */
function nowhere(family: Family): Address {
  return { family, value: 0n };
}
