import { describe, expect, test } from "vitest";
import { formatAddress, parseAddress } from "../../ip/address.ts";
import { parsePrefix } from "../../ip/prefix.ts";
import { Arena } from "../../lib/arena.ts";
import type { DropSample } from "./drop-log.ts";
import { DropSampler } from "./drop-sampler.ts";
import { buildForwarding, Forwarding } from "./forwarding.ts";
import { putPacket } from "./forwarding-packets.ts";

const arena = new Arena(8192);
const at = arena.reserve(512);
const forwarding = new Forwarding(
  buildForwarding({
    networks: [parsePrefix("10.5.0.0/16")],
    ownSubnets: [parsePrefix("10.5.16.0/24")],
    ownAddresses: [],
    peers: [{ subnet: parsePrefix("10.5.34.0/24"), publicIP: parseAddress("192.0.2.7"), slot: 0 }],
    acceptFrom: [],
  }),
  arena,
);
const leased = putPacket(arena, at, { from: "10.5.34.7", to: "10.5.16.5" });
const other = putPacket(arena, at + 64, { from: "8.8.8.8", to: "10.5.16.5" });

const word = (text: string) => Number(parseAddress(text).value) | 0;
const LATE = 1_000_000;

function sampler(isVerbose = false) {
  const clock = { now: 0, looks: 0 };
  const sampler = new DropSampler(arena, {
    isVerbose,
    now: () => {
      clock.looks++;
      return clock.now;
    },
  });
  return { sampler, clock };
}

const text = (sample: DropSample | undefined) =>
  sample &&
  [sample.reason, sample.outer && formatAddress(sample.outer), formatAddress(sample.source), sample.more].join(" ");

describe("DropSampler", () => {
  test("take() shows each stranger with a leased subnet once", () => {
    const { sampler: drops } = sampler();
    const shown = ["203.0.113.5", "203.0.113.5", "203.0.113.6", "203.0.113.5"].map((outer) =>
      text(drops.take("stranger", word(outer), leased, forwarding)),
    );
    expect(shown).toEqual([
      "stranger 203.0.113.5 10.5.34.7 0",
      undefined,
      "stranger 203.0.113.6 10.5.34.7 1",
      undefined,
    ]);
  });

  test("take() shows nothing else unless asked to, and does not look at the clock for it", () => {
    const { sampler: drops, clock } = sampler();
    const shown = [
      drops.take("stranger", word("203.0.113.5"), other, forwarding),
      drops.take("foreign source", word("192.0.2.7"), other, forwarding),
      drops.take("no route", 0, other, forwarding),
    ];
    expect(shown).toEqual([undefined, undefined, undefined]);
    expect(clock.looks).toBe(0);
  });

  test("take() finds the peer behind NAT in a flood from many invented addresses", () => {
    const { sampler: drops } = sampler();
    let flood = 0;
    for (let number = 0; number < 100_000; number++)
      if (drops.take("stranger", Math.imul(number, 40_503), other, forwarding) !== undefined) flood++;
    expect(flood).toBe(0);
    expect(drops.take("stranger", word("203.0.113.5"), leased, forwarding)?.more).toBe(100_000);
  });

  test("take() finds it too while one stranger floods us with packets of a leased subnet", () => {
    const { sampler: drops } = sampler();
    for (let number = 0; number < 1000; number++) drops.take("stranger", word("198.51.100.1"), leased, forwarding);
    expect(text(drops.take("stranger", word("203.0.113.5"), leased, forwarding))).toContain("203.0.113.5");
  });

  test("take() shows ten strangers a second, however many send packets of leased subnets", () => {
    const { sampler: drops, clock } = sampler();
    let shown = 0;
    for (let number = 1; number <= 10_000; number++) {
      clock.now = number; // ten seconds
      if (drops.take("stranger", Math.imul(number, 40_503), leased, forwarding) !== undefined) shown++;
    }
    expect(shown).toBeGreaterThanOrEqual(105);
    expect(shown).toBeLessThanOrEqual(110);
  });

  test("take() shows some of every reason if asked to, with how many more there were", () => {
    const { sampler: drops, clock } = sampler(true);
    const shown: (string | undefined)[] = [];
    for (let number = 0; number < 1000; number++)
      shown.push(text(drops.take("foreign source", word("192.0.2.7"), other, forwarding)));
    expect(shown.filter((line) => line !== undefined)).toHaveLength(5);
    expect(text(drops.take("no route", 0, other, forwarding))).toBe("no route  8.8.8.8 0");
    clock.now = LATE;
    expect(text(drops.take("foreign source", word("192.0.2.7"), other, forwarding))).toBe(
      "foreign source 192.0.2.7 8.8.8.8 995",
    );
  });

  test("take() makes samples that can be sent to another thread", () => {
    const { sampler: drops } = sampler(true);
    const ipv6 = putPacket(arena, at + 128, { from: "fc05::5", to: "fc06::1" });
    const sample = drops.take("family not in use", word("192.0.2.7"), ipv6, forwarding);
    expect(structuredClone(sample)).toEqual({
      reason: "family not in use",
      outer: parseAddress("192.0.2.7"),
      source: parseAddress("fc05::5"),
      destination: parseAddress("fc06::1"),
      more: 0,
    });
  });
});
