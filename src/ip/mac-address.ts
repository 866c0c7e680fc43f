/** An Ethernet address as lower-case text, `c6:df:8a:93:40:f8`. */
export type MacAddress = string & { readonly __brand: "MacAddress" };

/** Accepts either case, colons or hyphens. @throws {SyntaxError} naming the text */
export function parseMacAddress(text: string): MacAddress {
  if (!/^[0-9a-f]{2}([:-])[0-9a-f]{2}(?:\1[0-9a-f]{2}){4}$/i.test(text))
    throw new SyntaxError(`not a MAC address: ${JSON.stringify(text)}`);
  return text.toLowerCase().replaceAll("-", ":") as MacAddress;
}

/** @throws {RangeError} unless there are 6 bytes */
export function decodeMacAddress(bytes: Uint8Array): MacAddress {
  if (bytes.byteLength !== 6) throw new RangeError(`a MAC address has 6 bytes, not ${bytes.byteLength}`);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":") as MacAddress;
}

export function encodeMacAddress(mac: MacAddress): Uint8Array {
  const bytes = new Uint8Array(6);
  for (let index = 0; index < 6; index++) bytes[index] = Number.parseInt(mac.slice(index * 3, index * 3 + 2), 16);
  return bytes;
}

/** Locally administered and unicast, as an overlay's own devices must be. IEEE 802-2014 §8.4. @param random six random bytes */
export function localMacAddress(random: Uint8Array): MacAddress {
  const bytes = Uint8Array.from(random.subarray(0, 6));
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return decodeMacAddress(bytes);
}

/** Whether it names one station: neither a group address nor all zeros. */
export function isUnicastMacAddress(mac: MacAddress): boolean {
  return mac !== "00:00:00:00:00:00" && (Number.parseInt(mac.charAt(1), 16) & 1) === 0;
}
