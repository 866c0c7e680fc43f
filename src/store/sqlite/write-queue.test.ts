import { expect, test } from "vitest";
import { type Commit, WriteQueue } from "./write-queue.ts";

class Spoiled extends Error {}

const { signal } = new AbortController();

/** A target that is a list; a commit keeps what the transaction added, or nothing. */
function bench(failures: readonly Error[] = []) {
  const kept: string[] = [];
  const sizes: number[] = [];
  const toFail = [...failures];
  const commit: Commit<string[]> = async (transaction) => {
    const target: string[] = [];
    const tell = transaction(target);
    await Promise.resolve();
    const failure = toFail.shift();
    if (failure !== undefined) throw failure;
    kept.push(...target);
    sizes.push(tell.length);
    return tell;
  };
  const queue = new WriteQueue(commit, (error) => error instanceof Spoiled);
  const add = (text: string, options = { signal }) =>
    queue.write((target) => {
      target.push(text);
      return text.toUpperCase();
    }, options);
  return { queue, kept, sizes, add };
}

test("WriteQueue.write() puts what is asked for together into one transaction, in order", async () => {
  const { add, kept, sizes } = bench();
  const texts = ["a", "b", "c"];
  expect(await Promise.all(texts.map((text) => add(text)))).toEqual(["A", "B", "C"]);
  expect(kept).toEqual(texts);
  expect(sizes).toEqual([3]);
});

test("WriteQueue.write() splits a great many into several transactions", async () => {
  const { add, kept, sizes } = bench();
  const texts = Array.from({ length: 250 }, (_, index) => String(index));
  await Promise.all(texts.map((text) => add(text)));
  expect(kept).toEqual(texts);
  expect(sizes).toEqual([100, 100, 50]);
});

test("WriteQueue.write() tells one write's refusal to its caller only", async () => {
  const { queue, add, kept } = bench();
  const refusal = new Error("taken");
  const refused = queue.write(
    () => {
      throw refusal;
    },
    { signal },
  );
  const results = await Promise.allSettled([add("a"), refused, add("b")]);
  expect(results).toEqual([
    { status: "fulfilled", value: "A" },
    { status: "rejected", reason: refusal },
    { status: "fulfilled", value: "B" },
  ]);
  expect(kept).toEqual(["a", "b"]);
});

test("WriteQueue.write() fails all writes of a transaction that fails, and goes on with the next", async () => {
  const full = new Error("the disk is full");
  const { add, kept } = bench([full]);
  const results = await Promise.allSettled([add("a"), add("b")]);
  expect(results.map((result) => (result as PromiseRejectedResult).reason)).toEqual([full, full]);
  expect(await add("c")).toBe("C");
  expect(kept).toEqual(["c"]);
});

test("WriteQueue.write() fails all writes if one of them meets a fatal error", async () => {
  const { queue, add, kept } = bench();
  const spoiled = new Spoiled("I/O error");
  const spoiling = queue.write(
    () => {
      throw spoiled;
    },
    { signal },
  );
  const results = await Promise.allSettled([add("a"), spoiling]);
  expect(results.map((result) => (result as PromiseRejectedResult).reason)).toEqual([spoiled, spoiled]);
  expect(kept).toEqual([]);
});

test("WriteQueue.write() that is aborted in time does nothing", async () => {
  const { add, kept } = bench();
  const controller = new AbortController();
  const reason = new Error("stop");
  const aborted = add("a", { signal: controller.signal });
  const other = add("b");
  controller.abort(reason);
  await expect(aborted).rejects.toBe(reason);
  await other;
  expect(kept).toEqual(["b"]);
  await expect(add("c", { signal: controller.signal })).rejects.toBe(reason);
});
