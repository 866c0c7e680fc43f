import { expect, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { formatPrefix, type Prefix, parsePrefix } from "../ip/prefix.ts";
import type { Lease } from "../lease/lease.ts";
import { RecordingLogger } from "../lib/recording-logger.ts";
import { PeerReport } from "./peer-report.ts";

function lease(number: number): Lease {
  return {
    subnet: parsePrefix(`10.5.${number}.0/24`),
    attributes: { publicIP: parseAddress(`192.0.2.${number}`) },
    isReservation: false,
    revision: 1n,
  };
}

const leases = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, index) => lease(first + index));
const NOTHING = { added: [], changed: [], removed: [], retained: [] };

function report() {
  const logger = new RecordingLogger();
  const told = () => {
    const lines = logger.lines.map(({ level, message, fields }) => {
      const { subnet, count, reason } = fields as { subnet?: Prefix | string; count?: number; reason?: string };
      const which = typeof subnet === "object" ? formatPrefix(subnet) : (subnet ?? String(count));
      return `${level} ${message} ${which}${reason === undefined ? "" : ` ${reason}`}`;
    });
    logger.clear();
    return lines;
  };
  return { report: new PeerReport(logger), told };
}

test("PeerReport.changed() tells of each peer that comes, changes and goes, and not of ourselves", () => {
  const { report: peers, told } = report();
  peers.changed({ ...NOTHING, added: leases(1, 2), changed: [lease(1), lease(3)], removed: [lease(4)] }, lease(1));
  expect(told()).toEqual([
    "info peer added 10.5.2.0/24",
    "info peer changed 10.5.3.0/24",
    "info peer removed 10.5.4.0/24",
  ]);
});

test("PeerReport.changed() only counts many", () => {
  const { report: peers, told } = report();
  peers.changed({ ...NOTHING, added: leases(1, 200) }, lease(1));
  expect(told()).toEqual(["info peers added 199"]);
});

test("PeerReport.ignored() tells of each useless peer once, and again when the reason is another or it came back", () => {
  const { report: peers, told } = report();
  const because = (reason: string) => [{ lease: lease(2), reason }];
  peers.ignored(because("a"), []);
  peers.ignored(because("a"), []);
  expect(told()).toEqual(["warn peer ignored 10.5.2.0/24 a"]);
  peers.ignored(because("b"), []);
  expect(told()).toEqual(["warn peer ignored 10.5.2.0/24 b"]);
  peers.ignored([], []);
  peers.ignored(because("b"), []);
  expect(told()).toEqual(["warn peer ignored 10.5.2.0/24 b"]);
});

test("PeerReport.ignored() tells of rejected and unreachable ones alike, and counts what is too much", () => {
  const { report: peers, told } = report();
  const unreachable = leases(10, 19).map(({ subnet }) => ({ subnet, reason: "no" }));
  peers.ignored([{ lease: lease(2), reason: "hostile" }], unreachable);
  expect(told()).toEqual([
    "warn peer ignored 10.5.2.0/24 hostile",
    ...["10", "11", "12", "13"].map((number) => `warn peer ignored 10.5.${number}.0/24 no`),
    "warn more peers ignored 6",
  ]);
});
