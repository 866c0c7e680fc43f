import { expect, test } from "vitest";
import { orAbort } from "./or-abort.ts";

test("orAbort() rejects with the reason of a signal that has come already", async () => {
  await expect(orAbort(new Promise(() => {}), AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough");
});
