import { expect, test } from "vitest";
import { FakeClock } from "./fake-clock.ts";
import { RecordingLogger } from "./recording-logger.ts";
import { untilItWorks } from "./until-it-works.ts";

/** Answers in order, errors thrown; the last one for ever. */
function begin(answers: readonly (Error | string)[], delay?: (error: unknown) => number) {
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  const controller = new AbortController();
  let attempts = 0;
  const attempt = async () => {
    const answer = answers[Math.min(attempts++, answers.length - 1)];
    if (answer instanceof Error) throw answer;
    return answer;
  };
  const result = untilItWorks(attempt, "not yet", {
    clock,
    logger,
    signal: controller.signal,
    ...(delay !== undefined && { delay }),
  });
  result.catch(() => {});
  const reasons = () =>
    logger.lines.map(({ level, message, fields }) => `${level} ${message}: ${String(fields["reason"])}`);
  return { clock, controller, result, reasons, attempts: () => attempts };
}

test("untilItWorks() gives what works at once, without a word", async () => {
  const { result, reasons } = begin(["done"]);
  expect(await result).toBe("done");
  expect(reasons()).toEqual([]);
});

test("untilItWorks() tries every second", async () => {
  const { clock, attempts } = begin([new Error("no config")]);
  await clock.advance(10_500);
  expect(attempts()).toBe(11);
});

test("untilItWorks() tries as often as it is told for an error", async () => {
  const { clock, attempts } = begin([new Error("out of subnets")], () => 500);
  await clock.advance(4_900);
  expect(attempts()).toBe(10);
});

test("untilItWorks() says each reason once, also where several take turns", async () => {
  const [a, b] = [new Error("host a is away"), new Error("host b is away")];
  const { clock, result, reasons } = begin([a, a, b, a, b, a, "done"]);
  await clock.advance(10_000);
  expect(await result).toBe("done");
  expect(reasons()).toEqual(["warn not yet: host a is away", "warn not yet: host b is away"]);
});

test("untilItWorks() says all of a reason", async () => {
  const { clock, reasons } = begin([new Error("cannot read", { cause: new Error("EACCES") })]);
  await clock.advance(0);
  expect(reasons()).toEqual(["warn not yet: cannot read: EACCES"]);
});

test("untilItWorks() ends with the reason of an abort, without a word more", async () => {
  const { clock, controller, result, reasons } = begin([new Error("no config")]);
  await clock.advance(1_500);
  const reason = new Error("enough");
  controller.abort(reason);
  await expect(result).rejects.toBe(reason);
  expect(reasons().length).toBe(1);
  expect(clock.sleeping).toBe(0);
});
