import type { Plan, RowFailure, Table } from "../dataplane/table.ts";
import type { Address } from "../ip/address.ts";
import type { MacAddress } from "../ip/mac-address.ts";
import { containsAddress } from "../ip/prefix.ts";
import type { Abortable } from "../lib/abortable.ts";
import { address as addressCodec } from "../wire/codecs.ts";
import {
  NDA_DST,
  NeighborMessage,
  NUD_PERMANENT,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
} from "../wire/neighbor-message.ts";
import { AF_INET, AF_INET6, NLM_F_CREATE, NLM_F_REPLACE } from "../wire/netlink-header.ts";
import { findAttribute } from "../wire/schema.ts";
import { LITTLE_ENDIAN } from "../wire/writer.ts";
import type { NeighborRow, NeighborScope } from "./kernel.ts";
import { LINK_NOTIFICATIONS, LinkWatch } from "./link-watch.ts";
import { MAC_TEXT_LENGTH } from "./links.ts";
import type { Notification } from "./monitor.ts";
import { applyRows, type Netlink, withoutLink } from "./netlink.ts";
import { type NetlinkRequest, netlinkRequest } from "./netlink-connection.ts";
import { neighborRows } from "./rows.ts";

/** Permanent ARP and neighbour discovery entries of one device, inside the networks. */
export class NeighborTable implements Table<NeighborRow> {
  readonly name: string;
  readonly key = neighborRows.key;
  readonly equal = neighborRows.equal;
  readonly format = neighborRows.format;
  readonly #netlink: Netlink;
  readonly #scope: NeighborScope;
  readonly #link = new LinkWatch();
  /** What should be there by our last look and our own doings, to tell which notifications are news. */
  readonly #known = new Map<number | bigint, string>();

  constructor(netlink: Netlink, scope: NeighborScope) {
    this.#netlink = netlink;
    this.#scope = scope;
    this.name = `neighbors ${scope.link}`;
  }

  async list({ signal }: Abortable): Promise<readonly NeighborRow[]> {
    const index = await this.#look({ signal });
    this.#known.clear();
    if (index === undefined) return [];
    const rows: NeighborRow[] = [];
    for (const family of new Set(this.#scope.networks.map((network) => network.address.family))) {
      const filter = { family: family === 4 ? AF_INET : AF_INET6, outLink: index };
      const describe = `list ${this.name}`;
      await this.#netlink.connection.dump(
        RTM_GETNEIGH,
        NeighborMessage,
        filter,
        (neighbor) => {
          const { destination, linkLayerAddress: mac } = neighbor;
          if (neighbor.family !== filter.family || neighbor.linkIndex !== index) return undefined;
          if ((neighbor.state & NUD_PERMANENT) === 0) return undefined;
          if (destination === undefined || mac?.length !== MAC_TEXT_LENGTH || !this.#owns(destination))
            return undefined;
          this.#known.set(knownKey(destination), mac);
          rows.push({ link: this.#scope.link, destination, mac: mac as MacAddress });
          return undefined;
        },
        { signal, describe },
      );
    }
    return rows;
  }

  async apply(plan: Plan<NeighborRow>, options: Abortable): Promise<readonly RowFailure<NeighborRow>[]> {
    const index = await this.#look(options);
    if (index === undefined) return withoutLink(plan, this.#scope.link, (row) => `add neighbor ${this.format(row)}`);
    for (const row of plan.removals) this.#known.delete(knownKey(row.destination));
    for (const row of plan.puts) this.#known.set(knownKey(row.destination), row.mac);
    const failures = await applyRows(
      this.#netlink.connection,
      plan,
      (row) => this.#request(RTM_NEWNEIGH, row, index),
      (row) => this.#request(RTM_DELNEIGH, row, index),
      options,
    );
    for (const { row } of failures) this.#known.delete(knownKey(row.destination));
    return failures;
  }

  watch(onChange: () => void): Disposable {
    return this.#netlink.monitor.subscribe({
      types: [...LINK_NOTIFICATIONS, RTM_NEWNEIGH, RTM_DELNEIGH],
      onOverrun: onChange,
      onNotification: (notification) => {
        if (this.#isNews(notification)) onChange();
      },
    });
  }

  #isNews(notification: Notification): boolean {
    const { type, source, start, end } = notification;
    if (type !== RTM_NEWNEIGH && type !== RTM_DELNEIGH) return this.#link.notice(notification) !== undefined;
    const family = source.bytes[start];
    if (family !== AF_INET && family !== AF_INET6) return false;
    if (source.view.getUint32(start + 4, LITTLE_ENDIAN) !== this.#link.index(this.#scope.link)) return false;
    const [from, to] = findAttribute(source, start + NeighborMessage.headerSize, end, NDA_DST);
    if (from < 0) return false;
    const destination = addressCodec.read(source, from, to);
    const known = this.#known.get(knownKey(destination));
    if (type === RTM_DELNEIGH) return known !== undefined;
    const neighbor = NeighborMessage.read(source, start, end);
    if ((neighbor.state & NUD_PERMANENT) === 0) return known !== undefined;
    return known !== neighbor.linkLayerAddress && this.#owns(destination);
  }

  async #look(options: Abortable): Promise<number | undefined> {
    const state = await this.#netlink.links.state(this.#scope.link, options);
    this.#link.saw(this.#scope.link, state);
    return state?.index;
  }

  #owns(destination: Address): boolean {
    return this.#scope.networks.some((network) => containsAddress(network, destination));
  }

  #request(type: number, row: NeighborRow, linkIndex: number): NetlinkRequest {
    const added = type === RTM_NEWNEIGH;
    return netlinkRequest(
      type,
      added ? NLM_F_CREATE | NLM_F_REPLACE : 0,
      NeighborMessage,
      {
        family: row.destination.family === 4 ? AF_INET : AF_INET6,
        linkIndex,
        state: NUD_PERMANENT,
        destination: row.destination,
        linkLayerAddress: added ? row.mac : undefined,
      },
      () => `${added ? "add" : "remove"} neighbor ${this.format(row)}`,
    );
  }
}

/** Addresses of both families as something a Map compares by value. */
function knownKey({ family, value }: Address): number | bigint {
  return family === 4 ? Number(value) : value;
}
