import { type Address, formatAddress } from "../ip/address.ts";
import { formatPrefix, type Prefix } from "../ip/prefix.ts";
import { describeError } from "../lib/errors.ts";

type Plain = string | number | boolean | null | readonly Plain[] | { readonly [key: string]: Plain };

/** A value of a log line as people and JSON know it: addresses, networks, dates and errors become text. */
export function plainValue(value: unknown, depth = 0): Plain | undefined {
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value);
  if (typeof value === "bigint" || typeof value === "symbol") return value.toString();
  if (typeof value === "function") return `function ${value.name}`;
  if (typeof value !== "object") return undefined;
  if (value instanceof Error) return describeError(value);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "invalid date" : value.toISOString();
  if (isAddress(value)) return formatAddress(value);
  if (isPrefix(value)) return formatPrefix(value);
  if (depth > 4) return "…";
  if (value instanceof Map) return plainValue(Object.fromEntries(value), depth);
  if (Symbol.iterator in value)
    return Array.from(value as Iterable<unknown>, (item) => plainValue(item, depth + 1) ?? null);
  const fields: Record<string, Plain> = {};
  for (const [key, field] of Object.entries(value)) {
    const plain = plainValue(field, depth + 1);
    if (plain !== undefined) fields[key] = plain;
  }
  return fields;
}

function isAddress(value: object): value is Address {
  return "family" in value && "value" in value && typeof value.value === "bigint";
}

function isPrefix(value: object): value is Prefix {
  return (
    "address" in value &&
    "length" in value &&
    typeof value.address === "object" &&
    value.address !== null &&
    isAddress(value.address)
  );
}
