/**
 * As much of WebAssembly's binary format as our one module needs; an instruction takes its operands as arguments, as in the folded
 * text format. https://webassembly.github.io/spec/core/binary/
 */
export type Code = readonly number[];

/** Value types. */
export const I32 = 0x7f;
export const I64 = 0x7e;
export const V128 = 0x7b;

const EMPTY = 0x40; // the type of a block that leaves nothing behind
const FUNCTION = 0x60;

export const local = {
  get: (index: number): Code => [0x20, index],
  set: (index: number, value: Code): Code => [...value, 0x21, index],
};

/** Loads take an address in bytes, of any alignment, and a constant added to it. */
export const i32 = {
  const: (value: number): Code => [0x41, ...signed(value)],
  greaterOrEqual: (a: Code, b: Code): Code => [...a, ...b, 0x4e], // i32.ge_s
  add: (a: Code, b: Code): Code => [...a, ...b, 0x6a],
  sub: (a: Code, b: Code): Code => [...a, ...b, 0x6b],
  and: (a: Code, b: Code): Code => [...a, ...b, 0x71],
  or: (a: Code, b: Code): Code => [...a, ...b, 0x72],
  shiftLeft: (a: Code, b: Code): Code => [...a, ...b, 0x74],
  shiftRight: (a: Code, b: Code): Code => [...a, ...b, 0x76], // i32.shr_u
  fromI64: (a: Code): Code => [...a, 0xa7],
};

export const i64 = {
  const: (value: number): Code => [0x42, ...signed(value)],
  load8: (address: Code, offset = 0): Code => [...address, 0x31, 0, ...unsigned(offset)],
  load16: (address: Code, offset = 0): Code => [...address, 0x33, 0, ...unsigned(offset)],
  load32: (address: Code, offset = 0): Code => [...address, 0x35, 0, ...unsigned(offset)],
  add: (a: Code, b: Code): Code => [...a, ...b, 0x7c],
  and: (a: Code, b: Code): Code => [...a, ...b, 0x83],
  shiftRight: (a: Code, b: Code): Code => [...a, ...b, 0x88], // i64.shr_u
  fromI32: (a: Code): Code => [...a, 0xad], // unsigned
};

const simd = (opcode: number): Code => [0xfd, ...unsigned(opcode)];

export const v128 = {
  load: (address: Code, offset = 0): Code => [...address, ...simd(0), 0, ...unsigned(offset)],
};

/** Four lanes of 32 bits. */
export const i32x4 = {
  lane: (a: Code, lane: number): Code => [...a, ...simd(27), lane],
  /** Sums of neighbouring unsigned 16-bit lanes. */
  addPairs: (a: Code): Code => [...a, ...simd(127)], // i32x4.extadd_pairwise_i16x8_u
  add: (a: Code, b: Code): Code => [...a, ...b, ...simd(174)],
};

export function when(condition: Code, then: Code): Code {
  return [...condition, 0x04, EMPTY, ...then, 0x0b];
}

export function whileTrue(condition: Code, body: Code): Code {
  const again = [0x0c, 1]; // br to the loop, one block further out
  return [0x03, EMPTY, ...when(condition, [...body, ...again]), 0x0b];
}

const PREAMBLE: Code = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0]; // "\0asm", version 1

export interface WasmFunction {
  readonly parameters: Code;
  readonly result: number;
  /** Their indices follow the parameters'. */
  readonly locals: Code;
  /** Leaves the result. */
  readonly body: Code;
}

/** A module that imports its memory as `arena.memory` and exports one function as `run`. */
export function assembleModule({ parameters, result, locals, body }: WasmFunction): Uint8Array<ArrayBuffer> {
  const code = [...vector(locals.map((type) => [1, type])), ...body, 0x0b];
  return Uint8Array.of(
    ...PREAMBLE,
    ...section(1, [[FUNCTION, ...vector(parameters.map((type) => [type])), 1, result]]),
    ...section(2, [[...name("arena"), ...name("memory"), 0x02, 0x00, 1]]), // a memory of at least one page
    ...section(3, [[0]]), // the function is of type 0
    ...section(7, [[...name("run"), 0x00, 0]]),
    ...section(10, [[...unsigned(code.length), ...code]]),
  );
}

function section(id: number, entries: readonly Code[]): Code {
  const content = vector(entries);
  return [id, ...unsigned(content.length), ...content];
}

function vector(entries: readonly Code[]): Code {
  return [...unsigned(entries.length), ...entries.flat()];
}

function name(text: string): Code {
  return vector(Array.from(text, (character) => [character.charCodeAt(0)]));
}

/** LEB128. */
function unsigned(value: number): Code {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}

/** LEB128 of a number of 32 bits. */
function signed(value: number): Code {
  return value >= -0x40 && value < 0x40 ? [value & 0x7f] : [(value & 0x7f) | 0x80, ...signed(value >> 7)];
}
