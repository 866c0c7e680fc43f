import { type Family, tryParseAddress } from "../ip/address.ts";
import { networkOf, type Prefix, parsePrefix } from "../ip/prefix.ts";
import { shown } from "../lease/json-fields.ts";
import { InvalidConfigError } from "../lib/errors.ts";

/**
 * Whose outer packets are let in besides peers': `Backend.AcceptFrom`.
 * @param families by which hosts may reach each other
 * @throws {InvalidConfigError} naming the field
 */
export function parseAcceptFrom(value: unknown, families: readonly Family[]): readonly Prefix[] {
  if (value === "peers") return [];
  if (value === "any") return families.map((family) => ({ address: { family, value: 0n }, length: 0 }));
  if (Array.isArray(value)) return value.map((source, index) => parseSource(source, index, families));
  throw new InvalidConfigError(
    "Backend.AcceptFrom",
    `must be "peers", "any" or a list of networks such as "192.0.2.0/24", not ${shown(value)}`,
  );
}

function parseSource(value: unknown, index: number, families: readonly Family[]): Prefix {
  const path = `Backend.AcceptFrom.${index}`;
  if (typeof value !== "string")
    throw new InvalidConfigError(path, `must be a network such as "192.0.2.0/24", not ${shown(value)}`);
  let prefix: Prefix;
  const host = tryParseAddress(value);
  try {
    prefix = host === undefined ? parsePrefix(value) : { address: host, length: host.family === 4 ? 32 : 128 };
  } catch (cause) {
    throw new InvalidConfigError(path, cause instanceof Error ? cause.message : String(cause), { cause });
  }
  if (!families.includes(prefix.address.family))
    throw new InvalidConfigError(
      path,
      `must be an IPv4 network, as hosts reach each other by IPv4, not ${shown(value)}`,
    );
  return networkOf(prefix.address, prefix.length);
}
