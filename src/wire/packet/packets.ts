// For tests only: packets made the slow and obvious way, by code that shares nothing with what it tests.

export interface Ip4Fields {
  readonly tos?: number;
  readonly id?: number;
  /** Flags and offset. */
  readonly fragment?: number;
  readonly ttl?: number;
  readonly source?: string;
  readonly destination?: string;
  /** Padded to a multiple of 4 by the caller. */
  readonly options?: readonly number[];
}

export interface Ip6Fields {
  readonly trafficClass?: number;
  readonly flowLabel?: number;
  readonly hopLimit?: number;
  readonly source?: readonly number[];
  readonly destination?: readonly number[];
  /** Whole extension headers, and the number of the first. */
  readonly extensions?: readonly number[];
  readonly firstExtension?: number;
}

export interface TcpFields {
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly sequence?: number;
  readonly acknowledgement?: number;
  readonly flags?: number;
  readonly window?: number;
  readonly urgent?: number;
  /** The byte of the header's length and what was reserved. */
  readonly dataOffset?: number;
  readonly options?: readonly number[];
}

/** The same with the checksum field left as 0. */
export interface Transport {
  readonly protocol: number;
  readonly bytes: readonly number[];
  readonly checksumAt: number;
}

export const SOURCE6 = [0xfd, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x15, 1];
export const DESTINATION6 = [0xfd, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16, 2];

export const u16 = (value: number): number[] => [(value >> 8) & 255, value & 255];
export const u32 = (value: number): number[] => [...u16(value >>> 16), ...u16(value)];

/** RFC 1071 as its text says it. */
export function plainSum(bytes: ArrayLike<number>): number {
  let sum = 0;
  for (let index = 0; index < bytes.length; index++) sum += (bytes[index] ?? 0) * (index % 2 === 0 ? 256 : 1);
  while (sum > 0xffff) sum = (sum % 0x1_0000) + Math.floor(sum / 0x1_0000);
  return sum;
}

export function plainChecksum(bytes: ArrayLike<number>): number {
  return 0xffff - plainSum(bytes);
}

export function tcp(fields: TcpFields, payload: ArrayLike<number> = []): Transport {
  const options = fields.options ?? [];
  return {
    protocol: 6,
    checksumAt: 16,
    bytes: [
      ...u16(fields.sourcePort ?? 40000),
      ...u16(fields.destinationPort ?? 5201),
      ...u32(fields.sequence ?? 1),
      ...u32(fields.acknowledgement ?? 1),
      fields.dataOffset ?? (5 + options.length / 4) << 4,
      fields.flags ?? 0x10,
      ...u16(fields.window ?? 502),
      ...u16(0),
      ...u16(fields.urgent ?? 0),
      ...options,
      ...Array.from(payload),
    ],
  };
}

export function udp(
  payload: ArrayLike<number>,
  { sourcePort = 5353, destinationPort = 53, length = payload.length + 8 } = {},
): Transport {
  return {
    protocol: 17,
    checksumAt: 6,
    bytes: [...u16(sourcePort), ...u16(destinationPort), ...u16(length), 0, 0, ...Array.from(payload)],
  };
}

/** A whole packet with right checksums. */
export function ip4(transport: Transport, fields: Ip4Fields = {}): Uint8Array {
  const source = (fields.source ?? "10.5.15.1").split(".").map(Number);
  const destination = (fields.destination ?? "10.5.16.2").split(".").map(Number);
  const options = fields.options ?? [];
  const header = [
    0x45 + options.length / 4,
    fields.tos ?? 0,
    ...u16(20 + options.length + transport.bytes.length),
    ...u16(fields.id ?? 0x1234),
    ...u16(fields.fragment ?? 0x4000),
    fields.ttl ?? 63,
    transport.protocol,
    ...u16(0),
    ...source,
    ...destination,
    ...options,
  ];
  header.splice(10, 2, ...u16(plainChecksum(header)));
  return Uint8Array.from([...header, ...complete(transport, [...source, ...destination])]);
}

export function ip6(transport: Transport, fields: Ip6Fields = {}): Uint8Array {
  const source = fields.source ?? SOURCE6;
  const destination = fields.destination ?? DESTINATION6;
  const extensions = fields.extensions ?? [];
  const trafficClass = fields.trafficClass ?? 0;
  return Uint8Array.from([
    0x60 | (trafficClass >> 4),
    ((trafficClass & 15) << 4) | ((fields.flowLabel ?? 0x12345) >> 16),
    ...u16((fields.flowLabel ?? 0x12345) & 0xffff),
    ...u16(extensions.length + transport.bytes.length),
    fields.firstExtension ?? transport.protocol,
    fields.hopLimit ?? 63,
    ...source,
    ...destination,
    ...extensions,
    ...complete(transport, [...source, ...destination]),
  ]);
}

function complete({ protocol, bytes, checksumAt }: Transport, addresses: readonly number[]): readonly number[] {
  const pseudo = [...addresses, 0, 0, ...u16(bytes.length), 0, protocol, ...(addresses.length === 8 ? [] : [0, 0])];
  const checksum = plainChecksum([...pseudo, ...bytes]);
  const written = protocol === 17 && checksum === 0 ? 0xffff : checksum;
  return [...bytes.slice(0, checksumAt), ...u16(written), ...bytes.slice(checksumAt + 2)];
}

/** `count` bytes that are not all alike. */
export function payload(count: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(count);
  let state = seed | 1;
  for (let index = 0; index < count; index++) {
    state = Math.imul(state, 0x41c6_4e6d) + 0x3039;
    bytes[index] = state >>> 16;
  }
  return bytes;
}
