import type { Codec, NumberCodec, Source, ValueOf } from "./codec.ts";
import { bytes } from "./codecs.ts";
import { WireError } from "./wire-error.ts";
import { LITTLE_ENDIAN, type Writer } from "./writer.ts";

type Fields = Readonly<Record<string, NumberCodec>>;
type StructValue<F extends Fields> = { readonly [K in keyof F as K extends `_${string}` ? never : K]: number };

export interface StructCodec<F extends Fields> {
  readonly size: number;
  read(source: Source, start: number, end: number): StructValue<F>;
  /** Missing fields are zero. */
  write(writer: Writer, value: Partial<StructValue<F>>): void;
  /** Puts the fields into an object that is being built. */
  readInto(target: Record<string, unknown>, source: Source, start: number): void;
  /** The object with all fields zero. */
  readonly template: StructValue<F>;
}

/** A C struct of numbers. Fields whose name begins with `_` are padding. The order is the struct's; the caller minds alignment. */
export function struct<const F extends Fields>(fields: F): StructCodec<F> {
  const steps: { name: string; codec: NumberCodec; offset: number; size: number; padding: boolean }[] = [];
  let size = 0;
  for (const [name, codec] of Object.entries(fields)) {
    steps.push({ name, codec, offset: size, size: codec.size, padding: name.startsWith("_") });
    size += codec.size;
  }
  const template = Object.fromEntries(steps.filter((step) => !step.padding).map((step) => [step.name, 0]));
  const readInto = (target: Record<string, unknown>, source: Source, start: number) => {
    for (const step of steps) {
      if (step.padding) continue;
      const at = start + step.offset;
      target[step.name] = step.codec.read(source, at, at + step.size);
    }
  };
  return {
    size,
    template: template as StructValue<F>,
    readInto,
    write(writer, value) {
      const values = value as Readonly<Record<string, number | undefined>>;
      const start = writer.skip(size);
      const { view } = writer;
      for (const step of steps) {
        const field = step.padding ? undefined : values[step.name];
        if (field !== undefined) step.codec.set(view, start + step.offset, field);
      }
    },
    read(source, start) {
      const target: Record<string, unknown> = { ...template };
      readInto(target, source, start);
      return target as StructValue<F>;
    },
  };
}

/** An attribute that the schema does not name, or whose flags it does not expect, kept as it came. */
export interface UnknownAttribute {
  /** Flag bits included. */
  readonly type: number;
  readonly bytes: Uint8Array;
}

type AttributeSpecs = Readonly<Record<string, readonly [type: number, codec: Codec<never> | Codec<unknown>]>>;
type AttributeValues<A extends AttributeSpecs> = {
  readonly [K in keyof A]?: ValueOf<A[K][1]> | undefined;
} & { readonly unknown?: readonly UnknownAttribute[] | undefined };

export interface AttributesCodec<A extends AttributeSpecs> extends Codec<AttributeValues<A>> {
  readInto(target: Record<string, unknown>, source: Source, start: number, end: number): void;
  /** The object with all attributes undefined. */
  readonly template: AttributeValues<A>;
}

/** NLA_TYPE_MASK, without NLA_F_NESTED and NLA_F_NET_BYTEORDER. */
const TYPE_MASK = 0x3fff;

/** Type-length-value attributes by number: `destination: [1, address]`. Absent ones are undefined, the last of several wins. */
export function attributes<const A extends AttributeSpecs>(specs: A): AttributesCodec<A> {
  const steps = Object.entries(specs).map(([name, [type, codec]]) => ({ name, type, codec: codec as Codec<unknown> }));
  const byType: (undefined | (typeof steps)[number])[] = [];
  for (const step of steps) byType[step.type] = step;
  const template = { ...Object.fromEntries(steps.map((step) => [step.name, undefined])), unknown: undefined };
  const readInto = (target: Record<string, unknown>, source: Source, start: number, end: number) => {
    let unknown: UnknownAttribute[] | undefined;
    let at = start;
    while (at < end) {
      const next = attributeEnd(source, at, end);
      const type = source.view.getUint16(at + 2, LITTLE_ENDIAN);
      const step = byType[type & TYPE_MASK];
      if (step === undefined) {
        unknown ??= [];
        unknown.push({ type, bytes: bytes.read(source, at + 4, next) });
      } else {
        const { size } = step.codec;
        if (size !== undefined && size !== next - at - 4)
          throw new WireError(`attribute ${step.name} has ${next - at - 4} bytes, not ${size}`);
        target[step.name] = step.codec.read(source, at + 4, next);
      }
      at = (next + 3) & ~3;
    }
    if (unknown !== undefined) target["unknown"] = unknown;
  };
  return {
    size: undefined,
    template: template as AttributeValues<A>,
    readInto,
    write(writer, value) {
      const values = value as Readonly<Record<string, unknown>>;
      for (const step of steps) {
        const field = values[step.name];
        if (field !== undefined) writeAttribute(writer, step.type, step.codec, field);
      }
      for (const { type, bytes: kept } of value.unknown ?? []) writeAttribute(writer, type, bytes, kept);
    },
    read(source, start, end) {
      const target: Record<string, unknown> = { ...template };
      readInto(target, source, start, end);
      return target as AttributeValues<A>;
    },
  };
}

/** Where the first attribute of this type begins and ends, without decoding anything: [-1, -1] if there is none. */
export function findAttribute(source: Source, start: number, end: number, type: number): readonly [number, number] {
  let at = start;
  while (at < end) {
    const next = attributeEnd(source, at, end);
    if ((source.view.getUint16(at + 2, LITTLE_ENDIAN) & TYPE_MASK) === type) return [at + 4, next];
    at = (next + 3) & ~3;
  }
  return NOWHERE;
}

const NOWHERE = [-1, -1] as const;

function attributeEnd(source: Source, at: number, end: number): number {
  if (end - at < 4) throw new WireError(`${end - at} bytes where an attribute should begin`);
  const length = source.view.getUint16(at, LITTLE_ENDIAN);
  if (length < 4 || length > end - at) throw new WireError(`an attribute of ${length} bytes in ${end - at}`);
  return at + length;
}

function writeAttribute(writer: Writer, type: number, codec: Codec<unknown>, value: unknown): void {
  const start = writer.take(4);
  codec.write(writer, value);
  const { view } = writer;
  view.setUint16(start, writer.length - start, LITTLE_ENDIAN);
  view.setUint16(start + 2, type, LITTLE_ENDIAN);
  writer.align();
}

/** A message's body: a fixed struct and then attributes, in one flat object. */
export interface MessageCodec<F extends Fields, A extends AttributeSpecs>
  extends Codec<StructValue<F> & AttributeValues<A>> {
  readonly size: undefined;
  /** The fixed part takes so many bytes; attributes begin there. */
  readonly headerSize: number;
  /** Missing struct fields are zero. */
  write(writer: Writer, value: Partial<StructValue<F>> & AttributeValues<A>): void;
}

export function message<F extends Fields, A extends AttributeSpecs>(
  header: StructCodec<F>,
  body: AttributesCodec<A>,
): MessageCodec<F, A> {
  const headerSize = (header.size + 3) & ~3;
  const template = { ...header.template, ...body.template };
  return {
    size: undefined,
    headerSize,
    write(writer, value) {
      header.write(writer, value);
      writer.align();
      body.write(writer, value);
    },
    read(source, start, end) {
      if (end - start < headerSize)
        throw new WireError(`${end - start} bytes of a message that has ${headerSize} or more`);
      const target: Record<string, unknown> = { ...template };
      header.readInto(target, source, start);
      body.readInto(target, source, start + headerSize, end);
      return target as StructValue<F> & AttributeValues<A>;
    },
  };
}
