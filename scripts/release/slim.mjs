// Takes a piece out of an executable's read-only data: the segment that holds it becomes two, with a hole between them in memory and
// nothing between them in the file. No address changes, so no code notices. ELF: System V ABI, chapters 4 and 5; elf.h.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { withoutLanguages } from "./icu.mjs";

const PT_LOAD = 1;
const PT_PHDR = 6;
/** The largest page of the architectures, of which offsets and addresses must be the same part. */
const PAGE = 65_536;

/** `Elf64_Phdr`. */
const FIELDS = [
  ["offset", 8],
  ["address", 16],
  ["physical", 24],
  ["fileSize", 32],
  ["memorySize", 40],
];
const ENTRY = 56;

function readSegments(file) {
  const table = Number(file.readBigUInt64LE(32));
  return Array.from({ length: file.readUInt16LE(56) }, (_, index) => {
    const entry = Buffer.from(file.subarray(table + ENTRY * index, table + ENTRY * (index + 1)));
    const segment = { type: entry.readUInt32LE(0), entry };
    for (const [field, at] of FIELDS) segment[field] = Number(entry.readBigUInt64LE(at));
    return segment;
  });
}

function writeSegments(file, segments) {
  const table = Number(file.readBigUInt64LE(32));
  for (const [index, segment] of segments.entries()) {
    const entry = Buffer.from(segment.entry);
    for (const [field, at] of FIELDS) entry.writeBigUInt64LE(BigInt(segment[field]), at);
    entry.copy(file, table + ENTRY * index);
  }
}

/**
 * The file without `length` bytes at `address`. The sections, which nothing at run time looks at, are dropped.
 *
 * A segment more needs an entry more in a table that has no room; PT_PHDR gives its own, which only a program that may be loaded
 * anywhere needs.
 * @param {Buffer} file ELF, 64 bits, little-endian, of fixed addresses
 */
export function cut(file, address, length) {
  const segments = readSegments(file);
  const whole = segments.find(
    ({ type, address: start, fileSize }) =>
      type === PT_LOAD && start <= address && address + length <= start + fileSize,
  );
  const spare = segments.findIndex(({ type }) => type === PT_PHDR);
  if (whole === undefined || spare < 0 || file.readUInt16LE(16) !== 2) throw new Error("this executable cannot be cut");
  const first = Math.ceil(address / PAGE) * PAGE;
  const hole = Math.floor((address + length) / PAGE) * PAGE - first;
  const before = first - whole.address;
  const at = whole.offset + before;
  const rest = {
    ...whole,
    offset: at,
    address: first + hole,
    physical: first + hole,
    fileSize: whole.fileSize - before - hole,
    memorySize: whole.memorySize - before - hole,
  };
  const moved = segments
    .filter((_, index) => index !== spare)
    .flatMap((segment) => {
      if (segment === whole) return [{ ...segment, fileSize: before, memorySize: before }, rest];
      return segment.offset > at ? { ...segment, offset: segment.offset - hole } : segment;
    });
  const result = Buffer.concat([file.subarray(0, at), file.subarray(at + hole)]);
  writeSegments(result, moved);
  result.writeBigUInt64LE(0n, 40); // e_shoff
  result.writeUInt32LE(0, 60); // e_shnum, e_shstrndx
  return result;
}

/** The data that a symbol names, by the dynamic symbol table. */
function symbol(path, pattern) {
  const table = execFileSync("readelf", ["-W", "--dyn-syms", path], { encoding: "latin1", maxBuffer: 1 << 28 });
  const line = table.split("\n").find((text) => pattern.test(text));
  if (line === undefined) throw new Error(`${path} has no ${pattern}`);
  const [, address, size] = line.trim().split(/\s+/);
  return { address: Number.parseInt(address, 16), size: Number(size) };
}

/** Rewrites the executable with ICU's data for English only. */
export function slim(path) {
  const { address, size } = symbol(path, / icudt\d+_dat(@|$)/);
  const file = readFileSync(path);
  const holder = readSegments(file).find(
    ({ type, address: start, fileSize }) => type === PT_LOAD && start <= address && address < start + fileSize,
  );
  const at = address - holder.address + holder.offset;
  const data = withoutLanguages(file.subarray(at, at + size));
  data.copy(file, at);
  writeFileSync(path, cut(file, address + data.length, size - data.length));
}
