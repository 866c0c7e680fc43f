import { expect, test } from "vitest";
import { FakeClock } from "../lib/fake-clock.ts";
import { RecordingLogger } from "../lib/recording-logger.ts";
import { RefusalLog } from "./refusal-log.ts";

test("RefusalLog says the same of the same client once in ten minutes, and something else at once", async () => {
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  const log = new RefusalLog({ clock, logger });
  const said = () => logger.lines.length;
  for (let count = 0; count < 100; count++) log.say("warn", "a client is refused", { client: "192.0.2.1" });
  expect(said()).toBe(1);
  log.say("warn", "a client is refused", { client: "192.0.2.2" });
  expect(said()).toBe(2);
  await clock.advance(599_000);
  log.say("warn", "a client is refused", { client: "192.0.2.1" });
  expect(said()).toBe(2);
  await clock.advance(1_000);
  log.say("warn", "a client is refused", { client: "192.0.2.1" });
  expect(said()).toBe(3);
});
