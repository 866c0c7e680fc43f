import type { Plan, RowFailure, Table } from "../dataplane/table.ts";
import { isLinkLocal } from "../ip/address.ts";
import type { Abortable } from "../lib/abortable.ts";
import {
  AddressMessage,
  IFA_F_DADFAILED,
  IFA_F_DEPRECATED,
  IFA_F_NODAD,
  IFA_F_NOPREFIXROUTE,
  IFA_F_TEMPORARY,
  IFA_F_TENTATIVE,
  RTM_DELADDR,
  RTM_GETADDR,
  RTM_NEWADDR,
} from "../wire/address-message.ts";
import type { ValueOf } from "../wire/codec.ts";
import { AF_INET, AF_INET6, AF_UNSPEC, NLM_F_CREATE, NLM_F_REPLACE } from "../wire/netlink-header.ts";
import { LITTLE_ENDIAN } from "../wire/writer.ts";
import { EADDRNOTAVAIL } from "./errno.ts";
import type { AddressRow, AddressScope, LinkAddress } from "./kernel.ts";
import { LINK_NOTIFICATIONS, LinkWatch } from "./link-watch.ts";
import type { Notification } from "./monitor.ts";
import { applyRows, type Netlink, withoutLink } from "./netlink.ts";
import { type NetlinkRequest, netlinkRequest } from "./netlink-connection.ts";
import { addressRows } from "./rows.ts";

type AddressValue = ValueOf<typeof AddressMessage>;

/** The global addresses of a device of ours. */
export class AddressTable implements Table<AddressRow> {
  readonly name: string;
  readonly key = addressRows.key;
  readonly equal = addressRows.equal;
  readonly format = addressRows.format;
  readonly #netlink: Netlink;
  readonly #scope: AddressScope;
  readonly #link = new LinkWatch();
  /** What should be there by our last look and our own doings; undefined before that. */
  #known: Map<string, AddressRow> | undefined;

  constructor(netlink: Netlink, scope: AddressScope) {
    this.#netlink = netlink;
    this.#scope = scope;
    this.name = `addresses ${scope.link}`;
  }

  async list(options: Abortable): Promise<readonly AddressRow[]> {
    const index = await this.#look(options);
    const rows = index === undefined ? [] : await this.#read(index, options);
    this.#known = new Map(rows.map((row) => [this.key(row), row]));
    return rows;
  }

  async apply(plan: Plan<AddressRow>, options: Abortable): Promise<readonly RowFailure<AddressRow>[]> {
    const index = await this.#look(options);
    if (index === undefined) return withoutLink(plan, this.#scope.link, (row) => `add address ${this.format(row)}`);
    const known = this.#known ?? new Map<string, AddressRow>();
    this.#known = known;
    for (const row of plan.puts) known.set(this.key(row), row);
    for (const row of plan.removals) known.delete(this.key(row));
    const failures = await this.#send(plan, index, options);
    for (const { row } of failures) known.delete(this.key(row));
    return [...failures, ...(await this.#restoreSecondaries(plan, index, options))];
  }

  /** With an address the kernel removes those that came later in the same network: those of them that should stay are put again. */
  async #restoreSecondaries(plan: Plan<AddressRow>, index: number, options: Abortable) {
    if (plan.removals.length === 0) return [];
    const left = new Set((await this.#read(index, options)).map((row) => this.key(row)));
    const lost = [...(this.#known ?? [])].filter(([key]) => !left.has(key)).map(([, row]) => row);
    return lost.length === 0 ? [] : await this.#send({ puts: lost, removals: [] }, index, options);
  }

  watch(onChange: () => void): Disposable {
    return this.#netlink.monitor.subscribe({
      types: [...LINK_NOTIFICATIONS, RTM_NEWADDR, RTM_DELADDR],
      onOverrun: onChange,
      onNotification: (notification) => {
        if (this.#isNews(notification)) onChange();
      },
    });
  }

  #isNews(notification: Notification): boolean {
    const { type, source, start, end } = notification;
    if (type !== RTM_NEWADDR && type !== RTM_DELADDR) return this.#link.notice(notification) !== undefined;
    const index = this.#link.index(this.#scope.link);
    if (source.view.getUint32(start + 4, LITTLE_ENDIAN) !== index) return false;
    const row = this.#toRow(AddressMessage.read(source, start, end));
    if (row === undefined) return false;
    const isKnown = this.#known?.has(this.key(row)) ?? false;
    return isKnown !== (type === RTM_NEWADDR);
  }

  async #look(options: Abortable): Promise<number | undefined> {
    const state = await this.#netlink.links.state(this.#scope.link, options);
    this.#link.saw(this.#scope.link, state);
    return state?.index;
  }

  async #read(index: number, { signal }: Abortable): Promise<readonly AddressRow[]> {
    const filter = { family: AF_UNSPEC, linkIndex: index };
    return await this.#netlink.connection.dump(
      RTM_GETADDR,
      AddressMessage,
      filter,
      (address) => (address.linkIndex === index ? this.#toRow(address) : undefined),
      { signal, describe: `list ${this.name}` },
    );
  }

  #toRow(message: AddressValue): AddressRow | undefined {
    const address = toLinkAddress(message, this.#scope.link);
    if (address === undefined || address.scope !== "global" || isLinkLocal(address.address.address)) return undefined;
    return { link: address.link, address: address.address };
  }

  #send(plan: Plan<AddressRow>, index: number, options: Abortable): Promise<RowFailure<AddressRow>[]> {
    return applyRows(
      this.#netlink.connection,
      plan,
      (row) => this.#request(RTM_NEWADDR, row, index),
      (row) => this.#request(RTM_DELADDR, row, index),
      options,
      (error) => error.errno === EADDRNOTAVAIL,
    );
  }

  #request(type: number, row: AddressRow, linkIndex: number): NetlinkRequest {
    const { address, length } = row.address;
    const added = type === RTM_NEWADDR;
    return netlinkRequest(
      type,
      added ? NLM_F_CREATE | NLM_F_REPLACE : 0,
      AddressMessage,
      {
        family: address.family === 4 ? AF_INET : AF_INET6,
        prefixLength: length,
        linkIndex,
        local: address,
        address: added ? address : undefined,
        allFlags: added ? flagsOf(row) : undefined,
      },
      () => `${added ? "add" : "remove"} address ${this.format(row)}`,
    );
  }
}

function flagsOf({ address, hasRoute }: AddressRow): number | undefined {
  return (address.address.family === 6 ? IFA_F_NODAD : 0) | (hasRoute === false ? IFA_F_NOPREFIXROUTE : 0) || undefined;
}

const PASSING = IFA_F_TEMPORARY | IFA_F_DADFAILED | IFA_F_DEPRECATED | IFA_F_TENTATIVE;

/** Undefined if there is none in it. */
export function toLinkAddress(message: AddressValue, link: string): LinkAddress | undefined {
  const address = message.local ?? message.address;
  if (address === undefined) return undefined;
  const isPassing = address.family === 6 && ((message.allFlags ?? message.flags) & PASSING) !== 0;
  return {
    link,
    address: { address, length: message.prefixLength },
    scope: scopeName(message.scope),
    ...(isPassing && { isPassing }),
  };
}

/** RT_SCOPE_*; a scope of a person's own counts as global. */
export function scopeName(scope: number): LinkAddress["scope"] {
  return scope === 254 ? "host" : scope === 253 ? "link" : scope === 200 ? "site" : "global";
}
