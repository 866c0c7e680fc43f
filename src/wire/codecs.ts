import type { Address } from "../ip/address.ts";
import type { Codec, NumberCodec } from "./codec.ts";
import { WireError } from "./wire-error.ts";
import { LITTLE_ENDIAN } from "./writer.ts";

export const u8 = number(
  1,
  (view, at) => view.getUint8(at),
  (view, at, value) => view.setUint8(at, value),
);

export const u16 = number(
  2,
  (view, at) => view.getUint16(at, LITTLE_ENDIAN),
  (view, at, value) => view.setUint16(at, value, LITTLE_ENDIAN),
);

export const u16be = number(
  2,
  (view, at) => view.getUint16(at, false),
  (view, at, value) => view.setUint16(at, value, false),
);

export const u32 = number(
  4,
  (view, at) => view.getUint32(at, LITTLE_ENDIAN),
  (view, at, value) => view.setUint32(at, value, LITTLE_ENDIAN),
);

export const i32 = number(
  4,
  (view, at) => view.getInt32(at, LITTLE_ENDIAN),
  (view, at, value) => view.setInt32(at, value, LITTLE_ENDIAN),
);

export const u32be = number(
  4,
  (view, at) => view.getUint32(at, false),
  (view, at, value) => view.setUint32(at, value, false),
);

export const u64: Codec<bigint> = {
  size: 8,
  write: (writer, value) => writer.u64(value),
  read: (source, start) => source.view.getBigUint64(start, LITTLE_ENDIAN),
};

/** An attribute that says something by being there: NLA_FLAG. */
export const flag: Codec<true> = {
  size: 0,
  write() {},
  read: () => true,
};

/** Accepted as NLA_FLAG, but told as a byte: IFLA_VXLAN_TTL_INHERIT. */
export const flagToldAsByte: Codec<boolean> = {
  size: undefined,
  write: (writer, value) => {
    if (!value) writer.u8(0);
  },
  read: (source, start, end) => {
    if (end - start > 1) throw new WireError(`a flag of ${end - start} bytes`);
    return end === start || source.bytes[start] !== 0;
  },
};

/** Bytes as they are, copied when read. */
export const bytes: Codec<Uint8Array> = {
  size: undefined,
  write: (writer, value) => writer.append(value),
  read: (source, start, end) => source.bytes.slice(start, end),
};

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Ends with a NUL, which is not part of it. */
export const text: Codec<string> = {
  size: undefined,
  write(writer, value) {
    writer.append(encoder.encode(value));
    writer.u8(0);
  },
  read(source, start, end) {
    const nul = source.bytes.indexOf(0, start);
    return decoder.decode(source.bytes.subarray(start, nul < 0 || nul > end ? end : nul));
  },
};

/** An IP address in network byte order; 4 bytes or 16 tell its family. */
export const address: Codec<Address> = {
  size: undefined,
  write(writer, value) {
    if (value.family === 4) {
      writer.u32be(Number(value.value));
    } else {
      writer.u64be(value.value >> 64n);
      writer.u64be(value.value & 0xffff_ffff_ffff_ffffn);
    }
  },
  read(source, start, end) {
    if (end - start === 4) return { family: 4, value: BigInt(source.view.getUint32(start, false)) };
    if (end - start === 16)
      return {
        family: 6,
        value: (source.view.getBigUint64(start, false) << 64n) | source.view.getBigUint64(start + 8, false),
      };
    throw new WireError(`an IP address of ${end - start} bytes`);
  },
};

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** A link-layer address of any length as text: `c6:df:8a:93:40:f8` is Ethernet's; a tunnel's may be four bytes, or none. */
export const hardwareAddress: Codec<string> = {
  size: undefined,
  write(writer, value) {
    for (let index = 0; index < value.length; index += 3)
      writer.u8((nibble(value.charCodeAt(index)) << 4) | nibble(value.charCodeAt(index + 1)));
  },
  read(source, start, end) {
    if (end === start) return "";
    let result = HEX[source.bytes[start] ?? 0] ?? "";
    for (let index = start + 1; index < end; index++) result += `:${HEX[source.bytes[index] ?? 0]}`;
    return result;
  },
};

/** The value of one hexadecimal digit by its character code. */
function nibble(code: number): number {
  return code <= 57 ? code - 48 : (code | 32) - 87;
}

/** One value after the other, each of a fixed size. */
export function list<T>(item: Codec<T>): Codec<readonly T[]> {
  const { size } = item;
  if (size === undefined || size === 0) throw new Error("a list needs items of a fixed size");
  return {
    size: undefined,
    write: (writer, values) => {
      for (const value of values) item.write(writer, value);
    },
    read(source, start, end) {
      if ((end - start) % size !== 0) throw new WireError(`${end - start} bytes are no list of items of ${size}`);
      const values: T[] = [];
      for (let at = start; at < end; at += size) values.push(item.read(source, at, at + size));
      return values;
    },
  };
}

function number(
  size: number,
  get: (view: DataView, at: number) => number,
  set: (view: DataView, at: number, value: number) => void,
): NumberCodec {
  return {
    size,
    set,
    write(writer, value) {
      const at = writer.take(size);
      set(writer.view, at, value);
    },
    read: (source, start) => get(source.view, start),
  };
}
