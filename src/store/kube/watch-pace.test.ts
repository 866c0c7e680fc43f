import { expect, test } from "vitest";
import { FakeClock } from "../../lib/fake-clock.ts";
import { RecordingLogger } from "../../lib/recording-logger.ts";
import { WatchPace } from "./watch-pace.ts";

const { signal } = new AbortController();

test("WatchPace lets watches that were ended at once come ever later, up to ten seconds, says so once, and forgets them after a good one", async () => {
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  const pace = new WatchPace({ clock, logger, random: () => 0, server: "https://10.96.0.1:443" });
  const wait = async (lasted: number) => {
    const start = clock.now();
    const next = pace.next(lasted, { signal }).then(() => clock.now() - start);
    await clock.advance(20_000);
    return await next;
  };
  const waits: number[] = [];
  for (let watch = 0; watch < 8; watch++) waits.push(await wait(100));
  expect(waits).toEqual([200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
  expect(logger.messages("warn")).toEqual(["watches are ended at once; changes of nodes are seen late"]);
  expect(await wait(400_000)).toBe(0);
  expect(await wait(100)).toBe(200);
});
