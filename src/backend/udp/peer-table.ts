import type { Plan, RowFailure, Table } from "../../dataplane/table.ts";
import { type Address, equalAddress, formatAddress } from "../../ip/address.ts";
import { equalPrefix, formatPrefix, type Prefix } from "../../ip/prefix.ts";
import type { Peer } from "./forwarding.ts";

/** Packets to `subnet` go to the host at `publicIP`, and come from there. */
export interface PeerRow {
  readonly subnet: Prefix;
  readonly publicIP: Address;
}

/** The packet thread's route table. Nobody else can change it, and it cannot refuse a row. */
export class PeerTable implements Table<PeerRow> {
  readonly name = "udp peers";
  readonly #onChange: (peers: readonly Peer[]) => void;
  readonly #rows = new Map<string, PeerRow>();
  readonly #slots = new Slots();

  /** @param onChange is given all peers after each change */
  constructor(onChange: (peers: readonly Peer[]) => void) {
    this.#onChange = onChange;
  }

  key(row: PeerRow): string {
    return formatPrefix(row.subnet);
  }

  equal(desired: PeerRow, actual: PeerRow): boolean {
    return equalPrefix(desired.subnet, actual.subnet) && equalAddress(desired.publicIP, actual.publicIP);
  }

  format(row: PeerRow): string {
    return `${formatPrefix(row.subnet)} via udp ${formatAddress(row.publicIP)}`;
  }

  list(): Promise<readonly PeerRow[]> {
    return Promise.resolve([...this.#rows.values()]);
  }

  apply({ puts, removals }: Plan<PeerRow>): Promise<readonly RowFailure<PeerRow>[]> {
    for (const row of puts) this.#rows.set(this.key(row), row);
    for (const row of removals) this.#rows.delete(this.key(row));
    const rows = [...this.#rows.values()];
    this.#slots.assign(rows.map(({ publicIP }) => publicIP));
    this.#onChange(rows.map((row) => ({ ...row, slot: this.#slots.of(row.publicIP) })));
    return Promise.resolve([]);
  }

  /** The public addresses by slot; undefined for a slot that is free. */
  get addresses(): readonly (Address | undefined)[] {
    return this.#slots.addresses;
  }
}

/** Numbers for public addresses: small, and the same as long as an address is in use. */
class Slots {
  readonly #slots = new Map<bigint, number>();
  readonly addresses: (Address | undefined)[] = [];

  assign(used: readonly Address[]): void {
    const values = new Set(used.map(({ value }) => value));
    for (const [value, slot] of this.#slots) {
      if (values.has(value)) continue;
      this.#slots.delete(value);
      this.addresses[slot] = undefined;
    }
    let free = 0;
    for (const address of used) {
      if (this.#slots.has(address.value)) continue;
      while (this.addresses[free] !== undefined) free++;
      this.addresses[free] = address;
      this.#slots.set(address.value, free);
    }
  }

  of(address: Address): number {
    return this.#slots.get(address.value) ?? -1;
  }
}
