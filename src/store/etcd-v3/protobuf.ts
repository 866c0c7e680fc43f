/** How a value stands in a message. Numbers of wire types as in https://protobuf.dev/programming-guides/encoding/. */
interface Field<Value, Given = Value> {
  readonly wireType: typeof VARINT | typeof DELIMITED;
  /** What a message says that does not have the field. */
  readonly absent: Value;
  /** @param number of the field */
  write(writer: Writer, number: number, value: Given): void;
  /** @param before what came of this field already */
  read(reader: Reader, before: Value): Value;
}

type Fields = Readonly<Record<string, readonly [number: number, field: Field<never> | Field<unknown>]>>;
type ValueOfField<F> = F extends { readonly absent: infer Value } ? Value : never;
type GivenToField<F> = F extends { write(writer: Writer, number: number, value: infer Given): void } ? Given : never;

/** A message as it was read: all fields are there. */
type Value<F extends Fields> = { readonly [K in keyof F]: ValueOfField<F[K][1]> };
/** A message to be written: fields that are left out are not written. */
type Given<F extends Fields> = { readonly [K in keyof F]?: GivenToField<F[K][1]> | undefined };

export interface Message<Value, Given> {
  encode(value: Given): Uint8Array;
  /** Byte fields are views of `bytes`. Unknown fields are left out. @throws {RangeError} if it is no such message */
  decode(bytes: Uint8Array): Value;
  write(writer: Writer, value: Given): void;
  /** Up to the reader's end. */
  read(reader: Reader): Value;
}

/** What is read of a message, and what is given to write one. */
export type ValueOf<M> = M extends Message<infer V, never> ? V : never;
export type GivenOf<M> = M extends Message<unknown, infer G> ? G : never;

const VARINT = 0;
const FIXED64 = 1;
const DELIMITED = 2;
const FIXED32 = 5;

/** A message by its fields: `lease: [6, int64]`. As many of a service's as one needs; the rest is skipped. */
export function message<const F extends Fields>(fields: F): Message<Value<F>, Given<F>> {
  const steps = Object.entries(fields).map(([name, [number, field]]) => ({
    name,
    number,
    field: field as Field<unknown>,
  }));
  const byNumber: (undefined | (typeof steps)[number])[] = [];
  for (const step of steps) byNumber[step.number] = step;
  const empty = Object.fromEntries(steps.map(({ name, field }) => [name, field.absent]));
  return {
    encode(value) {
      const writer = new Writer();
      this.write(writer, value);
      return writer.written();
    },
    decode(bytes) {
      return this.read(new Reader(bytes));
    },
    write(writer, value) {
      const given = value as Readonly<Record<string, unknown>>;
      for (const { name, number, field } of steps)
        if (given[name] !== undefined) field.write(writer, number, given[name]);
    },
    read(reader) {
      const value: Record<string, unknown> = { ...empty };
      while (reader.at < reader.end) {
        const tag = reader.uint32();
        const step = byNumber[tag >>> 3];
        if (step?.field.wireType === (tag & 7)) value[step.name] = step.field.read(reader, value[step.name]);
        else reader.skip(tag & 7);
      }
      return value as Value<F>;
    },
  };
}

export const int64: Field<bigint> = {
  wireType: VARINT,
  absent: 0n,
  write(writer, number, value) {
    writer.varint(number * 8 + VARINT);
    writer.varint(BigInt.asUintN(64, value));
  },
  read: (reader) => BigInt.asIntN(64, reader.varint()),
};

export const uint64: Field<bigint> = { ...int64, read: (reader) => reader.varint() };

/** One of a few numbers; those that are not known are told as they are. */
export const enumeration: Field<number> = {
  wireType: VARINT,
  absent: 0,
  write(writer, number, value) {
    writer.varint(number * 8 + VARINT);
    writer.varint(value);
  },
  read: (reader) => Number(BigInt.asIntN(32, reader.varint())),
};

export const bool: Field<boolean> = {
  wireType: VARINT,
  absent: false,
  write: (writer, number, value) => enumeration.write(writer, number, value ? 1 : 0),
  read: (reader) => reader.varint() !== 0n,
};

export const bytes: Field<Uint8Array> = {
  wireType: DELIMITED,
  absent: new Uint8Array(0),
  write(writer, number, value) {
    writer.varint(number * 8 + DELIMITED);
    writer.varint(value.length);
    writer.append(value);
  },
  read: (reader) => reader.delimited(),
};

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export const text: Field<string> = {
  wireType: DELIMITED,
  absent: "",
  write: (writer, number, value) => bytes.write(writer, number, encoder.encode(value)),
  read: (reader) => decoder.decode(reader.delimited()),
};

/** A message within a message; undefined if it is not there. */
export function optional<Value, Given>(inner: Message<Value, Given>): Field<Value | undefined, Given> {
  return {
    wireType: DELIMITED,
    absent: undefined,
    write: (writer, number, value) => bytes.write(writer, number, inner.encode(value)),
    read: (reader) => reader.within(() => inner.read(reader)),
  };
}

/** Any number of something that is written with its length; none if it is not there. */
export function repeated<Value, Given>(
  field: Field<Value, Given>,
): Field<readonly NonNullable<Value>[], readonly Given[]> {
  const absent: readonly NonNullable<Value>[] = [];
  return {
    wireType: DELIMITED,
    absent,
    write(writer, number, values) {
      for (const value of values) field.write(writer, number, value);
    },
    read(reader, before) {
      const value = field.read(reader, field.absent) as NonNullable<Value>;
      if (before === absent) return [value];
      (before as NonNullable<Value>[]).push(value); // made here, and nobody else has it yet
      return before;
    },
  };
}

/** Bits in the varint digits that a number can hold exactly. */
const EXACT_BITS = 49n;

class Reader {
  readonly #bytes: Uint8Array;
  at = 0;
  /** Of the message that is being read. */
  end: number;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.end = bytes.length;
  }

  /** Tags and lengths. */
  uint32(): number {
    const value = this.#digits(5);
    if (this.#isCut || value > 0xffff_ffff) throw new RangeError("protobuf: a number of more than 32 bits");
    return value;
  }

  /** 64 bits, unsigned; most of them fit into a number, which is a third of the work. */
  varint(): bigint {
    const low = this.#digits(7);
    if (!this.#isCut) return BigInt(low);
    const high = this.#digits(3);
    if (this.#isCut) throw new RangeError("protobuf: a number of more than 64 bits");
    return BigInt.asUintN(64, (BigInt(high) << EXACT_BITS) | BigInt(low));
  }

  delimited(): Uint8Array {
    const start = this.#skipTo(this.uint32());
    return this.#bytes.subarray(start, this.at);
  }

  /** Reads a message that stands here behind its length. */
  within<T>(read: () => T): T {
    const outer = this.end;
    const start = this.#skipTo(this.uint32());
    this.end = this.at;
    this.at = start;
    const value = read();
    this.end = outer;
    return value;
  }

  skip(wireType: number): void {
    if (wireType === VARINT) this.varint();
    else if (wireType === FIXED64) this.#skipTo(8);
    else if (wireType === FIXED32) this.#skipTo(4);
    else if (wireType === DELIMITED) this.#skipTo(this.uint32());
    else throw new RangeError(`protobuf: wire type ${wireType}`);
  }

  /** More digits follow than were asked for. */
  #isCut = false;

  /** Up to seven digits of seven bits, the lowest first. */
  #digits(most: number): number {
    let value = 0;
    let weight = 1;
    for (let count = 0; count < most; count++) {
      const byte = this.#bytes[this.at];
      if (byte === undefined || this.at >= this.end) throw new RangeError("protobuf: ends within a number");
      this.at++;
      value += (byte & 0x7f) * weight;
      if (byte < 0x80) {
        this.#isCut = false;
        return value;
      }
      weight *= 0x80;
    }
    this.#isCut = true;
    return value;
  }

  /** @returns where it stood */
  #skipTo(length: number): number {
    const start = this.at;
    if (length > this.end - start)
      throw new RangeError(`protobuf: ${length} bytes announced, ${this.end - start} there`);
    this.at = start + length;
    return start;
  }
}

class Writer {
  #bytes = new Uint8Array(256);
  #length = 0;

  written(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** @param value not negative */
  varint(value: number | bigint): void {
    this.#reserve(10);
    let rest = BigInt(value);
    for (; rest > 0x7fn; rest >>= 7n) this.#bytes[this.#length++] = Number(rest & 0x7fn) | 0x80;
    this.#bytes[this.#length++] = Number(rest);
  }

  append(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  #reserve(size: number): void {
    if (this.#length + size <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(this.#length + size, this.#bytes.length * 2));
    larger.set(this.#bytes);
    this.#bytes = larger;
  }
}
