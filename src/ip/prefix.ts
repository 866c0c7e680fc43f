import { type Address, addressBits, equalAddress, formatAddress, tryParseAddress } from "./address.ts";

/** An address with a length. In a network the host bits are zero; in an interface's address they need not be. */
export interface Prefix {
  readonly address: Address;
  readonly length: number;
}

/** `10.5.34.0/24`, host bits kept. @throws {SyntaxError} naming the text and what is wrong with it */
export function parsePrefix(text: string): Prefix {
  const slash = text.indexOf("/");
  if (slash < 0) throw new SyntaxError(`not a network in CIDR form, as 10.5.0.0/16: ${JSON.stringify(text)}`);
  const address = tryParseAddress(text.slice(0, slash));
  if (address === undefined) throw new SyntaxError(`not an IP address before the slash: ${JSON.stringify(text)}`);
  const digits = text.slice(slash + 1);
  const bits = addressBits(address.family);
  if (!/^(0|[1-9]\d{0,2})$/.test(digits) || Number(digits) > bits)
    throw new SyntaxError(`prefix length is not 0 to ${bits}: ${JSON.stringify(text)}`);
  return { address, length: Number(digits) };
}

export function formatPrefix(prefix: Prefix): string {
  return `${formatAddress(prefix.address)}/${prefix.length}`;
}

export function equalPrefix(a: Prefix, b: Prefix): boolean {
  return a.length === b.length && equalAddress(a.address, b.address);
}

/** How many addresses a prefix of this length holds. */
export function prefixSize(prefix: Prefix): bigint {
  return 1n << BigInt(addressBits(prefix.address.family) - prefix.length);
}

/** The network that `address` lies in: host bits cleared. */
export function networkOf(address: Address, length: number): Prefix {
  const hostBits = BigInt(addressBits(address.family) - length);
  return { address: { family: address.family, value: (address.value >> hostBits) << hostBits }, length };
}

/** Whether no host bit is set. */
export function isNetwork(prefix: Prefix): boolean {
  const { address, length } = prefix;
  if (address.family === 4) return Number(address.value) % 2 ** (32 - length) === 0;
  return equalAddress(address, networkOf(address, length).address);
}

export function firstAddress(prefix: Prefix): Address {
  return networkOf(prefix.address, prefix.length).address;
}

export function lastAddress(prefix: Prefix): Address {
  return { family: prefix.address.family, value: firstAddress(prefix).value + prefixSize(prefix) - 1n };
}

export function containsAddress(prefix: Prefix, address: Address): boolean {
  if (prefix.address.family !== address.family) return false;
  if (address.family === 4) {
    // by numbers: bigints are made anew at every step, and thousands of leases are looked at
    const shift = 32 - prefix.length;
    return shift === 32 || Number(prefix.address.value) >>> shift === Number(address.value) >>> shift;
  }
  const hostBits = BigInt(addressBits(address.family) - prefix.length);
  return prefix.address.value >> hostBits === address.value >> hostBits;
}

/** Whether all of `inner` lies in `outer`; a prefix contains itself. */
export function containsPrefix(outer: Prefix, inner: Prefix): boolean {
  return outer.length <= inner.length && containsAddress(outer, inner.address);
}

export function overlaps(a: Prefix, b: Prefix): boolean {
  return a.length <= b.length ? containsAddress(a, b.address) : containsAddress(b, a.address);
}
