import {
  assembleModule,
  type Code,
  I32,
  I64,
  i32,
  i32x4,
  i64,
  local,
  V128,
  v128,
  when,
  whileTrue,
} from "./wasm-assembler.ts";

const AT = 0;
const LENGTH = 1;
const LANES = 2;
const TOTAL = 3;

const at = local.get(AT);

/**
 * `run(at, length)`: the one's complement sum of these bytes as 16-bit numbers in network order, folded to 16 bits; a last odd byte
 * counts as if a zero followed. Up to 64 KiB, where no sum exceeds 34 bits.
 *
 * WebAssembly reads little-endian numbers. That is no matter until the end: adding with end-around carry is the same in either order,
 * and the sum is swapped once (RFC 1071 §2).
 */
export function checksumModule(): Uint8Array<ArrayBuffer> {
  return assembleModule({
    parameters: [I32, I32],
    result: I32,
    locals: [V128, I64],
    body: [
      ...inSteps(64, addLanes(i32x4.add(i32x4.add(pairs(0), pairs(16)), i32x4.add(pairs(32), pairs(48))))),
      ...inSteps(16, addLanes(pairs(0))),
      ...[0, 1, 2, 3].flatMap((lane) => addTotal(i64.fromI32(i32x4.lane(local.get(LANES), lane)))),
      ...rest(8, i64.add(i64.load32(at), i64.load32(at, 4))),
      ...rest(4, i64.load32(at)),
      ...rest(2, i64.load16(at)),
      ...rest(1, i64.load8(at)),
      ...fold(), // 34 bits, since the rest is added by 32, to 19
      ...fold(), // to 17
      ...fold(), // to 16
      ...swapped(i32.fromI64(local.get(TOTAL))),
    ],
  });
}

/** Eight 16-bit numbers as four sums. */
function pairs(offset: number): Code {
  return i32x4.addPairs(v128.load(at, offset));
}

function addLanes(value: Code): Code {
  return local.set(LANES, i32x4.add(local.get(LANES), value));
}

function addTotal(value: Code): Code {
  return local.set(TOTAL, i64.add(local.get(TOTAL), value));
}

function inSteps(size: number, body: Code): Code {
  return whileTrue(i32.greaterOrEqual(local.get(LENGTH), i32.const(size)), [
    ...body,
    ...advance(size),
    ...local.set(LENGTH, i32.sub(local.get(LENGTH), i32.const(size))),
  ]);
}

/** One bit of what is left of the length. */
function rest(size: number, value: Code): Code {
  return when(i32.and(local.get(LENGTH), i32.const(size)), [...addTotal(value), ...advance(size)]);
}

function advance(size: number): Code {
  return local.set(AT, i32.add(at, i32.const(size)));
}

function fold(): Code {
  const total = local.get(TOTAL);
  return local.set(TOTAL, i64.add(i64.and(total, i64.const(0xffff)), i64.shiftRight(total, i64.const(16))));
}

function swapped(value: Code): Code {
  const low = i32.and(value, i32.const(0xff));
  return i32.or(i32.shiftLeft(low, i32.const(8)), i32.shiftRight(value, i32.const(8)));
}
