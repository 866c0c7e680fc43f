import { describe, expect, test } from "vitest";
import { describeError, InvalidConfigError, isAbort, UnsupportedError } from "./errors.ts";

describe("errors", () => {
  test("describeError() adds what the causes say, once", () => {
    const cause = new Error("connect ECONNREFUSED 127.0.0.1:2379");
    expect(describeError(new Error("no answer", { cause }))).toBe("no answer: connect ECONNREFUSED 127.0.0.1:2379");
    expect(describeError(new Error(`no answer: ${cause.message}`, { cause }))).toBe(`no answer: ${cause.message}`);
    expect(describeError(new Error("a", { cause: new Error("b", { cause: "c" }) }))).toBe("a: b: c");
    expect(describeError("text")).toBe("text");
    expect(describeError(undefined)).toBe("undefined");
  });

  test("isAbort() is true for the signal's own reason only", () => {
    const controller = new AbortController();
    const reason = new Error("SIGTERM");
    expect(isAbort(reason, controller.signal)).toBe(false);
    controller.abort(reason);
    expect(isAbort(reason, controller.signal)).toBe(true);
    expect(isAbort(new DOMException("aborted", "AbortError"), controller.signal)).toBe(true);
    expect(isAbort(new Error("a bug"), controller.signal)).toBe(false);
  });

  test("InvalidConfigError names the field, UnsupportedError the way out", () => {
    expect(new InvalidConfigError("Backend.VNI", "must be less, not 9").message).toBe(
      "Backend.VNI: must be less, not 9",
    );
    expect(new InvalidConfigError("", "it is not JSON").message).toBe("it is not JSON");
    expect(new UnsupportedError("nfs", "no locks on NFS", "use a local disk").message).toBe(
      "no locks on NFS (use a local disk)",
    );
  });
});
