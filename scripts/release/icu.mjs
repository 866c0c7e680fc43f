// ICU's data without what flannel has no use for. Node carries 33 MB of it: names of days and currencies in 700 languages. English stays,
// and what belongs to no language, as in Node's own build with "small-icu".

/** `struct DataHeader` (icu4c, udata.h, ucmndata.h): size of the header, a magic number; at 12 the format, "CmnD" for a package of items. */
const MAGIC = 0x27da;
const FORMAT = "CmnD";
/** Items begin at multiples of it. */
const ALIGNMENT = 16;

/** Files of a language, `de_AT.res`, and of the character sets and scripts that are spoken of nowhere in flannel. */
function isNeeded(name) {
  const file = name.split("/").at(-1);
  if (/\/(translit|rbnf)\//.test(name) && !/\/(root|res_index|pool)\.res$/.test(name)) return false;
  if (file.endsWith(".dict")) return false; // where words end in Thai
  if (file.endsWith(".cnv")) return file === "ibm-5348_P100-1997.cnv"; // windows-1252, which TextDecoder calls latin1
  if (/^[a-z]{2,3}(_\w+)?\.res$/.test(file)) return /^en(_001|_US)?\.res$/.test(file);
  return true;
}

/**
 * @param {Buffer} data little-endian, as the compiler put it into Node
 * @returns {Buffer} the same with fewer items
 * @throws if it has another form
 */
export function withoutLanguages(data) {
  const header = data.readUInt16LE(0);
  if (data.readUInt16LE(2) !== MAGIC || data.toString("latin1", 12, 16) !== FORMAT) {
    throw new Error("Node's ICU data is of a form that is unknown here");
  }
  const body = data.subarray(header);
  const count = body.readUInt32LE(0);
  const all = Array.from({ length: count }, (_, index) => {
    const name = body.readUInt32LE(4 + 8 * index);
    const start = body.readUInt32LE(8 + 8 * index);
    const end = index + 1 < count ? body.readUInt32LE(16 + 8 * index) : body.length;
    return { name: body.toString("latin1", name, body.indexOf(0, name)), contents: body.subarray(start, end) };
  });
  return Buffer.concat([data.subarray(0, header), table(all.filter(({ name }) => isNeeded(name)))]);
}

/** Count; offsets of each name and each item from here; names; items. In the order of the names, by which ICU searches. */
function table(items) {
  const names = items.map(({ name }) => Buffer.from(`${name}\0`, "latin1"));
  const offsets = Buffer.alloc(4 + 8 * items.length);
  offsets.writeUInt32LE(items.length, 0);
  let at = offsets.length;
  for (const [index, name] of names.entries()) {
    offsets.writeUInt32LE(at, 4 + 8 * index);
    at += name.length;
  }
  const parts = [offsets, ...names];
  for (const [index, { contents }] of items.entries()) {
    const padding = -at & (ALIGNMENT - 1);
    parts.push(Buffer.alloc(padding), contents);
    at += padding;
    offsets.writeUInt32LE(at, 8 + 8 * index);
    at += contents.length;
  }
  return Buffer.concat(parts);
}
