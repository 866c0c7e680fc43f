import { beforeEach, describe, expect, test } from "vitest";
import { parsePrefix } from "../../ip/prefix.ts";
import { LeaseTakenError, StoreRefusedError, StoreUnavailableError } from "../../lease/errors.ts";
import { FakeClock } from "../../lib/fake-clock.ts";
import { RecordingLogger } from "../../lib/recording-logger.ts";
import { type Ask, Endpoints, type StoreHeader, UncertainWriteError } from "./endpoints.ts";

const options = { signal: new AbortController().signal };

/** What an endpoint does when asked: tells of a history, or throws. */
type Behaviour = StoreHeader | Error;

let clock: FakeClock;
let logger: RecordingLogger;
let behaviour: Record<string, Behaviour>;
let asked: string[];

beforeEach(() => {
  clock = new FakeClock();
  logger = new RecordingLogger();
  asked = [];
});

const at = (index: number, cluster = "ours"): StoreHeader => ({ cluster, index: BigInt(index) });
const down = (url: string) => new StoreUnavailableError(url, "down");
const refused = (url: string) => new StoreRefusedError(url, "wrong password");

function open(endpoints: Record<string, Behaviour>): Endpoints {
  behaviour = endpoints;
  return new Endpoints(Object.keys(endpoints), { clock, logger });
}

const ask: Ask<string> = (url) => {
  asked.push(url);
  const answer = behaviour[url];
  if (answer === undefined || answer instanceof Error) return Promise.reject(answer ?? new Error(`no ${url}`));
  return Promise.resolve({ header: answer, value: url });
};

const call = (endpoints: Endpoints) => endpoints.call(ask, options);
const warnings = () => logger.lines.filter(({ level }) => level === "warn");

describe("Endpoints", () => {
  test("call() stays with the endpoint that answered", async () => {
    const endpoints = open({ a: down("a"), b: at(1), c: at(1) });
    for (let round = 0; round < 3; round++) expect(await call(endpoints)).toBe("b");
    expect(asked).toEqual(["a", "b", "b", "b"]);
    expect(endpoints.current).toBe("b");
  });

  test("call() asks an endpoint that failed last, until it is forgotten", async () => {
    const endpoints = open({ a: down("a"), b: at(1) });
    await call(endpoints);
    behaviour["a"] = at(1);
    behaviour["b"] = down("b");
    expect(await call(endpoints)).toBe("a");
    expect(asked.splice(0)).toEqual(["a", "b", "b", "a"]);
    behaviour["b"] = at(1);
    behaviour["a"] = down("a");
    await clock.advance(31_000);
    expect(await call(endpoints)).toBe("b");
    expect(asked).toEqual(["a", "b"]);
  });

  test("failed() has another endpoint asked first", async () => {
    const endpoints = open({ a: at(1), b: at(1) });
    expect(await call(endpoints)).toBe("a");
    endpoints.failed("a", "its watch broke");
    expect(await call(endpoints)).toBe("b");
  });

  test("call() throws every endpoint's reason when none answers", async () => {
    const error = await call(open({ a: down("a"), b: new StoreUnavailableError("b", "frozen") })).catch(String);
    expect(error).toBe("StoreUnavailableError: a: down; b: frozen");
  });

  test("call() throws what is no failure of the endpoint at once", async () => {
    const endpoints = open({ a: new LeaseTakenError(parsePrefix("10.5.1.0/24")), b: at(1) });
    await expect(call(endpoints)).rejects.toThrow(LeaseTakenError);
    expect(asked).toEqual(["a"]);
  });

  test("call() asks nobody else when a write may have happened, and then another first", async () => {
    const endpoints = open({ a: new UncertainWriteError(down("a")), b: at(1) });
    await expect(call(endpoints)).rejects.toThrow(UncertainWriteError);
    expect(asked.splice(0)).toEqual(["a"]);
    expect(await call(endpoints)).toBe("b");
  });

  test("call() throws a refusal only if no endpoint that once worked may come back", async () => {
    await expect(call(open({ a: down("a"), b: refused("b") }))).rejects.toThrow(StoreRefusedError);
    const endpoints = open({ a: at(1), b: refused("b") });
    await call(endpoints);
    behaviour["a"] = down("a");
    await expect(call(endpoints)).rejects.toThrow(StoreUnavailableError);
    behaviour["a"] = refused("a");
    await expect(call(endpoints)).rejects.toThrow(StoreRefusedError);
  });

  test("call() verifies an endpoint before it writes there, once", async () => {
    const endpoints = open({ a: at(1), b: at(1, "theirs") });
    const verified: string[] = [];
    const verify: Ask<undefined> = async (url) => {
      verified.push(url);
      const header = behaviour[url];
      if (header === undefined || header instanceof Error) throw down(url);
      return { header, value: undefined };
    };
    await endpoints.call(ask, { ...options, verify });
    await endpoints.call(ask, { ...options, verify });
    expect(verified.splice(0)).toEqual(["a"]);
    behaviour["a"] = down("a");
    await expect(endpoints.call(ask, { ...options, verify })).rejects.toThrow(StoreUnavailableError);
    expect(verified).toEqual(["b"]); // a had proven itself, b belongs to others
    expect(asked).toEqual(["a", "a", "a"]);
  });

  test("call() ends with the signal's reason", async () => {
    const reason = new Error("stop");
    const stop = new AbortController();
    const endpoints = open({ a: at(1), b: at(1) });
    const asking = endpoints.call(
      (url, { signal }) => {
        asked.push(url);
        stop.abort(reason);
        return Promise.reject(signal.reason);
      },
      { signal: stop.signal },
    );
    await expect(asking).rejects.toBe(reason);
    expect(asked).toEqual(["a"]);
  });
});

describe("Endpoints with different histories", () => {
  test("call() refuses another cluster by name, and warns once", async () => {
    const endpoints = open({ a: at(5), b: at(9, "theirs") });
    await call(endpoints);
    behaviour["a"] = down("a");
    for (let round = 0; round < 3; round++) {
      await clock.advance(100_000);
      await expect(call(endpoints)).rejects.toThrow(/b: belongs to another etcd cluster \(id theirs, ours is ours\)/);
    }
    expect(warnings()).toHaveLength(1);
    expect(warnings()[0]?.fields).toMatchObject({ endpoint: "b" });
    behaviour["a"] = at(6);
    expect(await call(endpoints)).toBe("a");
  });

  test("call() passes over an endpoint that is behind", async () => {
    const endpoints = open({ a: at(5), b: at(4), c: at(5) });
    await call(endpoints);
    behaviour["a"] = down("a");
    expect(await call(endpoints)).toBe("c");
    expect(asked).toEqual(["a", "a", "b", "c"]);
  });

  test("learned() makes an endpoint that has not seen a watch's change one that is behind", async () => {
    const endpoints = open({ a: at(5), b: at(6) });
    await call(endpoints);
    endpoints.learned(at(6));
    endpoints.learned(at(100, "theirs"));
    expect(await call(endpoints)).toBe("b");
    expect(endpoints.history).toEqual(at(6));
  });

  test("call() takes no answer that was overtaken by another for an older state", async () => {
    const endpoints = open({ a: at(5) });
    await call(endpoints);
    let answerLate: (() => void) | undefined;
    const late = endpoints.call<string>(
      () =>
        new Promise((resolve) => {
          answerLate = () => resolve({ header: at(6), value: "late" });
        }),
      options,
    );
    behaviour["a"] = at(7);
    await call(endpoints);
    answerLate?.();
    expect(await late).toBe("late");
    expect(warnings()).toEqual([]);
  });

  test.each([
    ["an older state", at(2)],
    ["another cluster", at(9, "anew")],
  ])("call() believes %s when every endpoint that ever answered tells it", async (_what, restored) => {
    const endpoints = open({ a: at(5), b: down("b"), c: at(5) });
    await call(endpoints);
    behaviour = { a: restored, b: down("b"), c: restored };
    expect(await call(endpoints)).toBe("a");
    expect(endpoints.history).toEqual(restored);
    expect(await call(endpoints)).toBe("a");
    expect(warnings().filter(({ message }) => message.includes("restored"))).toHaveLength(1);
    endpoints.learned(at(5)); // a cursor from before
    expect(endpoints.history).toEqual(restored);
  });

  test("call() believes an older state after a while though a member is silent that knew better", async () => {
    const endpoints = open({ a: at(5), b: at(2) });
    await call(endpoints);
    behaviour["a"] = down("a");
    await expect(call(endpoints)).rejects.toThrow(/b: tells an older state \(index 2\) than is known \(index 5\)/);
    await clock.advance(29_000);
    await expect(call(endpoints)).rejects.toThrow(StoreUnavailableError);
    await clock.advance(1_000);
    expect(await call(endpoints)).toBe("b");
  });
});
