import { expect, test } from "vitest";
import { FakeClock } from "../../lib/fake-clock.ts";
import { RecordingLogger } from "../../lib/recording-logger.ts";
import { CountersReader, CountersWriter, createCounters } from "./counters.ts";
import { reportDrops } from "./drop-report.ts";

function counted() {
  const memory = createCounters(1);
  const reader = new CountersReader(memory);
  const traffic = () => ({ total: reader.total(), peers: [], drops: reader.drops(), work: reader.work() });
  return { writer: new CountersWriter(memory), path: { traffic } };
}

test("reportDrops() tells once a minute what was dropped in it, and nothing of a minute without drops", async () => {
  const { writer, path } = counted();
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  const stop = new AbortController();
  writer.dropped("no route", 5); // told by an earlier report
  const running = reportDrops(path, { clock, logger, signal: stop.signal });
  await clock.advance(60_000);
  writer.dropped("stranger", 2);
  writer.dropped("no route", 1);
  await clock.advance(59_000);
  writer.dropped("stranger", 1);
  await clock.advance(1_000);
  await clock.advance(60_000);
  writer.dropped("bad packet", 7);
  await clock.advance(60_000);
  expect(logger.lines.map(({ level, fields }) => [level, fields])).toEqual([
    ["debug", { "no route": 1, stranger: 3 }],
    ["debug", { "bad packet": 7 }],
  ]);
  stop.abort();
  await expect(running).rejects.toBe(stop.signal.reason);
});

test("reportDrops() does not wake anybody where nobody reads debug lines", async () => {
  const { writer, path } = counted();
  const clock = new FakeClock();
  const logger = Object.assign(new RecordingLogger(), { debugs: false });
  const stop = new AbortController();
  const running = reportDrops(path, { clock, logger, signal: stop.signal });
  writer.dropped("stranger", 2);
  await clock.advance(1_000_000);
  expect(logger.lines).toEqual([]);
  stop.abort();
  await expect(running).rejects.toBe(stop.signal.reason);
});
