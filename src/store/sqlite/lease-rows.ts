import type { Lease, LeaseEvent, NetworkName } from "../../lease/lease.ts";
import { formatAttributes, formatLeaseKey } from "../../lease/lease-codec.ts";
import type { LeaseFormat } from "../../lease/subnet-manager.ts";
import type { Logger } from "../../lib/logger.ts";
import { EntryReader } from "../entry-reader.ts";
import type { LeaseClaim } from "../registry.ts";
import { nextRevision, recordChange } from "./history.ts";
import { expiry, type LeaseTime, type Reading } from "./lease-time.ts";
import type { ChangeRow, LeaseRow, Statements } from "./schema.ts";

export interface LeaseRowsParts {
  /** Of the file, for messages. */
  readonly path: string;
  readonly time: LeaseTime;
  readonly format: LeaseFormat;
  /** How many changes a watch may lag behind. */
  readonly historyLength: number;
  readonly logger: Logger;
}

/** Leases as rows of the file. `boot` is the number that this boot of the machine has in the file. */
export class LeaseRows {
  readonly #parts: LeaseRowsParts;
  readonly #entries: EntryReader;

  constructor(parts: LeaseRowsParts) {
    this.#parts = parts;
    this.#entries = new EntryReader(parts.logger);
  }

  /** Undefined if it makes no sense, which is said once. */
  read(network: NetworkName, row: LeaseRow, boot: number, reading: Reading): Lease | undefined {
    const entry = this.#entries.read(row.key, row.value, this.shownKey(network, `subnets/${row.key}`));
    if (entry === undefined) return undefined;
    const remaining = this.#parts.time.remaining(row, reading, boot);
    return {
      ...entry,
      ...expiry(reading, remaining),
      isReservation: remaining === undefined,
      revision: BigInt(row.revision),
    };
  }

  readChange(network: NetworkName, row: ChangeRow, boot: number, reading: Reading): LeaseEvent | undefined {
    const { key, value } = row;
    if (value === null) {
      const subnets = this.#entries.readKey(key);
      return subnets && { type: "removed", subnet: subnets.subnet };
    }
    const lease = this.read(network, { ...row, value }, boot, reading);
    return lease && { type: "added", lease };
  }

  /** A step of a transaction. */
  write(statements: Statements, boot: number, network: NetworkName, claim: LeaseClaim): Lease {
    const { time, format, historyLength } = this.#parts;
    const reading = time.read();
    const row = {
      network,
      key: formatLeaseKey(claim),
      value: formatAttributes(claim.attributes, format),
      revision: nextRevision(statements),
      ...(claim.isReservation ? { expires: null, boot: null, uptime: null } : time.end(reading, boot)),
    };
    statements.setLease(row);
    recordChange(statements, row, historyLength);
    const lease = this.read(network, row, boot, reading);
    if (lease === undefined) throw new Error(`a lease was written that cannot be read: ${row.key} ${row.value}`);
    return lease;
  }

  /** As messages name it. */
  shownKey(network: NetworkName, key: string): string {
    return `${this.#parts.path}: ${network === "" ? key : `${network}/${key}`}`;
  }
}
