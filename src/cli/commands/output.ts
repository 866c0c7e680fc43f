import { formatAddress } from "../../ip/address.ts";
import { formatPrefix, type Prefix, parsePrefix } from "../../ip/prefix.ts";
import { renderTable } from "../../lab/table.ts";
import type { Lease } from "../../lease/lease.ts";
import { parseLeaseKey } from "../../lease/lease-codec.ts";
import { takesColors } from "../../lib/terminal.ts";
import { UsageError } from "./store-command.ts";

export function print(...lines: readonly string[]): void {
  process.stdout.write(`${lines.join("\n")}\n`);
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value, undefined, 2));
}

/** For people: a table, or one line if there is nothing to list. */
export function printTable(head: readonly string[], rows: readonly (readonly string[])[], none: string): void {
  if (rows.length === 0) print(none);
  else print(renderTable(head, rows, { colors: takesColors(process.stdout) }));
}

/** `10.5.34.0/24`, or as the key in the store has it, `10.5.34.0-24`. @throws {UsageError} */
export function readSubnet(text: string): Prefix {
  try {
    return text.includes("/") ? parsePrefix(text) : parseLeaseKey(text).subnet;
  } catch (error) {
    throw new UsageError(`SUBNET: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

/** A lease as `--json` shows it; this shape is kept. */
export function leaseJson(lease: Lease) {
  const { attributes } = lease;
  return {
    subnet: formatPrefix(lease.subnet),
    ipv6Subnet: lease.ipv6Subnet === undefined ? null : formatPrefix(lease.ipv6Subnet),
    publicIP: formatAddress(attributes.publicIP),
    publicIPv6: attributes.publicIPv6 === undefined ? null : formatAddress(attributes.publicIPv6),
    backendType: attributes.backendType ?? null,
    backendData: attributes.backendData ?? null,
    backendV6Data: attributes.backendV6Data ?? null,
    reservation: lease.isReservation,
    expiration: lease.expiration?.toISOString() ?? null,
    revision: String(lease.revision),
  };
}

/** `23h 59m`, `4m`, `12s`; two units at most. */
export function formatSpan(span: number): string {
  const seconds = Math.max(0, Math.floor(span / 1000));
  const minutes = Math.floor(seconds / 60);
  if (minutes === 0) return `${seconds}s`;
  const hours = Math.floor(minutes / 60);
  return hours === 0 ? `${minutes}m` : `${hours}h ${minutes % 60}m`;
}
