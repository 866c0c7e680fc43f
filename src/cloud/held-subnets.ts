import type { Plan, RowFailure, Table } from "../dataplane/table.ts";
import { formatPrefix, type Prefix } from "../ip/prefix.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { HeldSubnet } from "./cloud.ts";

/** Who holds a subnet is known to the store alone; this is where the tables of a cloud learn it. Nobody else can change it. */
export class HeldSubnets implements Table<HeldSubnet> {
  readonly name = "subnets of others";
  readonly #rows = new Map<string, HeldSubnet>();

  key({ subnet }: HeldSubnet): string {
    return formatPrefix(subnet);
  }

  equal(): boolean {
    return true; // a row is all key
  }

  format({ subnet }: HeldSubnet): string {
    return formatPrefix(subnet);
  }

  async list({ signal }: Abortable): Promise<readonly HeldSubnet[]> {
    signal.throwIfAborted();
    return [...this.#rows.values()];
  }

  async apply({ puts, removals }: Plan<HeldSubnet>, { signal }: Abortable): Promise<readonly RowFailure<HeldSubnet>[]> {
    signal.throwIfAborted();
    for (const row of puts) this.#rows.set(this.key(row), row);
    for (const row of removals) this.#rows.delete(this.key(row));
    return [];
  }

  has(subnet: Prefix): boolean {
    return this.#rows.has(formatPrefix(subnet));
  }
}
