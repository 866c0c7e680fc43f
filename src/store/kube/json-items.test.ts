import fc from "fast-check";
import { expect, test } from "vitest";
import { JsonItems, MOST_ITEM_BYTES } from "./json-items.ts";

/** Cuts the text into pieces of these sizes, in turn. */
function cut(text: string, sizes: readonly number[]): { readonly items: readonly unknown[]; readonly rest: unknown } {
  const items: unknown[] = [];
  const cutter = new JsonItems((json) => items.push(JSON.parse(json.toString())));
  const bytes = Buffer.from(text);
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1;
    cutter.feed(bytes.subarray(at, at + size));
    at += size;
  }
  return { items, rest: JSON.parse(cutter.end()) };
}

test("JsonItems gives each object of a list, and the list without them, wherever it is cut", () => {
  const list = { kind: "NodeList", metadata: { resourceVersion: "7", continue: 'a"]},{' }, items: [] as unknown[] };
  fc.assert(
    fc.property(
      fc.array(fc.dictionary(fc.string({ maxLength: 5 }), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 3 }), {
        maxLength: 4,
      }),
      fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }),
      (items, sizes) => {
        const plain = JSON.parse(JSON.stringify(items)) as unknown[];
        expect(cut(JSON.stringify({ ...list, items: plain }), sizes)).toEqual({ items: plain, rest: list });
      },
    ),
    { numRuns: 50 },
  );
});

test("JsonItems says what stands before the objects as soon as they begin, wherever it is cut", () => {
  const text = '{"kind":"NodeList","metadata":{"continue":"a[b"},"items":[{"a":1},{"b":2}]}';
  for (let at = 1; at < text.length; at++) {
    const told: unknown[] = [];
    const cutter = new JsonItems(
      (json) => told.push(JSON.parse(json.toString())),
      (head) => told.push(JSON.parse(head)),
    );
    for (const piece of [text.slice(0, at), text.slice(at)]) cutter.feed(Buffer.from(piece));
    const head = { kind: "NodeList", metadata: { continue: "a[b" }, items: [] };
    expect(told).toEqual([head, { a: 1 }, { b: 2 }]);
  }
});

test("JsonItems gives nothing of an object without items", () => {
  const status = { kind: "Status", details: { causes: [{ reason: "x" }, { reason: "y" }] } };
  expect(cut(JSON.stringify(status), [3])).toEqual({ items: [], rest: status });
});

test("JsonItems refuses an object that is longer than any can be", () => {
  const cutter = new JsonItems(() => undefined);
  cutter.feed(Buffer.from('{"items":[{"a":"'));
  const feed = () => {
    for (let size = 0; size <= MOST_ITEM_BYTES; size += 1024 * 1024) cutter.feed(Buffer.alloc(1024 * 1024, "x"));
  };
  expect(feed).toThrow("an object is longer than");
});
