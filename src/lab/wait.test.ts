import { expect, test } from "vitest";
import { DeadlineError, waitUntil } from "./wait.ts";

const { signal } = new AbortController();
const soon = { signal, what: "the moon is full", within: 30, every: 1 };

test("waitUntil() gives the first value other than undefined and false", async () => {
  const answers = [undefined, false, 0];
  expect(await waitUntil(() => answers.shift() as number | false | undefined, { ...soon, within: 60_000 })).toBe(0);
});

test("waitUntil() says what was waited for and why the last look failed", async () => {
  const look = () => {
    throw new Error("clouds");
  };
  const error = await waitUntil(look, soon).catch((error: unknown) => error);
  expect(error).toBeInstanceOf(DeadlineError);
  expect(error).toMatchObject({ message: "not within 30 ms: the moon is full", cause: { message: "clouds" } });
});

test("waitUntil() ends with the caller's reason", async () => {
  const stop = new AbortController();
  const waiting = waitUntil(() => false, { ...soon, signal: stop.signal, within: 60_000 });
  stop.abort(new Error("enough"));
  await expect(waiting).rejects.toThrow("enough");
});

test("waitUntil() does not count the time in which the machine stands still", async () => {
  const answers = [false, true];
  const look = () => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60);
    return answers.shift();
  };
  expect(await waitUntil(look, { ...soon, within: 40 })).toBe(true);
});
