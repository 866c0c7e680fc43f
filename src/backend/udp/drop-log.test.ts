import { describe, expect, test } from "vitest";
import { parseAddress } from "../../ip/address.ts";
import { parsePrefix } from "../../ip/prefix.ts";
import { silentLogger } from "../../lib/logger.ts";
import { RecordingLogger } from "../../lib/recording-logger.ts";
import { DropLog, type DropSample } from "./drop-log.ts";

const PEERS = [
  { subnet: parsePrefix("10.5.34.64/26"), publicIP: parseAddress("192.0.2.8"), slot: 1 },
  { subnet: parsePrefix("10.5.34.0/24"), publicIP: parseAddress("192.0.2.7"), slot: 0 },
];

const sample = (outer: string, source = "10.5.34.7", rest: Partial<DropSample> = {}): DropSample => ({
  reason: "stranger",
  outer: parseAddress(outer),
  source: parseAddress(source),
  destination: parseAddress("10.5.16.5"),
  more: 0,
  ...rest,
});

function dropLog() {
  const logger = new RecordingLogger();
  const log = new DropLog(logger);
  log.setPeers(PEERS);
  return { logger, log, warnings: () => logger.lines.filter(({ level }) => level === "warn") };
}

describe("DropLog", () => {
  test("take() warns of a stranger with a leased subnet once, and names what would let it in", () => {
    const { log, warnings } = dropLog();
    for (let times = 0; times < 3; times++) log.take(sample("203.0.113.5"));
    expect(warnings().map(({ fields }) => fields)).toEqual([
      {
        address: "203.0.113.5",
        subnet: "10.5.34.0/24",
        leasedBy: "192.0.2.7",
        hint: 'if it is the same host behind a NAT, "AcceptFrom": ["203.0.113.5"] in the Backend lets it in',
      },
    ]);
    log.take(sample("203.0.113.6", "10.5.34.70"));
    expect(warnings().map(({ fields }) => fields["subnet"])).toEqual(["10.5.34.0/24", "10.5.34.64/26"]);
  });

  test("take() warns of nobody else", () => {
    const { log, logger, warnings } = dropLog();
    log.take(sample("203.0.113.5", "10.5.35.1"));
    log.take(sample("203.0.113.5", "8.8.8.8"));
    log.take(sample("192.0.2.7", "10.5.34.70", { reason: "foreign source" }));
    log.setPeers([]);
    log.take(sample("203.0.113.5"));
    expect(warnings()).toEqual([]);
    expect(logger.messages("debug")).toHaveLength(4);
  });

  test("take() stops warning when there are too many strangers, and says so", () => {
    const { log, warnings } = dropLog();
    for (let low = 0; low < 5000; low++) log.take(sample(`203.0.${low >> 8}.${low & 255}`));
    expect(warnings()).toHaveLength(1001);
    expect(warnings().at(-1)?.fields).toEqual({ strangers: 1000 });
  });

  test("take() shows every sample to debug, with its reason and addresses", () => {
    const { log, logger } = dropLog();
    log.take(sample("192.0.2.7", "10.5.99.1", { reason: "foreign source", more: 41 }));
    log.take({ ...sample("192.0.2.7", "10.5.16.5", { reason: "no route" }), outer: undefined });
    expect(logger.lines.map(({ message, fields }) => ({ message, ...fields }))).toEqual([
      {
        message: "packet dropped",
        reason: "foreign source",
        from: "192.0.2.7",
        source: "10.5.99.1",
        destination: "10.5.16.5",
        more: 41,
      },
      { message: "packet dropped", reason: "no route", source: "10.5.16.5", destination: "10.5.16.5" },
    ]);
  });

  test("take() puts nothing into words that nobody reads", () => {
    const logger = { ...silentLogger, debug: () => expect.fail("debug() was called") };
    new DropLog(logger).take(sample("192.0.2.7"));
  });
});
