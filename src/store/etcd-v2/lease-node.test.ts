import { describe, expect, test } from "vitest";
import { silentLogger } from "../../lib/logger.ts";
import { EntryReader } from "../entry-reader.ts";
import type { KeyNode } from "./keys-api.ts";
import { leaseOfNode } from "./lease-node.ts";

const node: KeyNode = {
  key: "/coreos.com/network/subnets/10.5.34.0-24",
  value: '{"PublicIP":"192.168.77.11"}',
  expiration: "2026-11-23T20:00:00.5Z",
  ttl: 86_400,
  modifiedIndex: 7,
};
const reader = new EntryReader(silentLogger);
const time = { now: 1_000, wallClock: Date.parse("2026-11-22T21:00:00Z") };

describe("leaseOfNode()", () => {
  test("reckons a lease's end from the TTL by our own clocks, not from the server's", () => {
    const lease = leaseOfNode(node, reader, time);
    expect(lease).toMatchObject({ revision: 7n, isReservation: false, expiresAt: 86_401_000 });
    expect(lease?.expiration).toEqual(new Date("2026-11-23T21:00:00Z"));
  });

  test("makes no date where nobody is shown one", () => {
    const lease = leaseOfNode(node, reader, { now: time.now });
    expect(lease).toMatchObject({ expiresAt: 86_401_000 });
    expect(lease).not.toHaveProperty("expiration");
  });

  test("gives an event from the history what is left of its TTL by the server's clock", () => {
    const serverTime = Date.parse("2026-11-23T19:00:00Z");
    expect(leaseOfNode(node, reader, { ...time, serverTime })?.expiresAt).toBe(3_601_500);
    expect(leaseOfNode(node, reader, { ...time, serverTime: serverTime + 1e9 })?.expiresAt).toBe(1_000);
    expect(leaseOfNode(node, reader, { ...time, serverTime: Number.NaN })?.expiresAt).toBe(86_401_000);
  });

  test("makes a reservation of a node without a TTL", () => {
    const { key, value, modifiedIndex } = node;
    const lease = leaseOfNode({ key, value: value ?? "", modifiedIndex }, reader, time);
    expect(lease?.isReservation).toBe(true);
    expect(lease?.expiresAt).toBeUndefined();
  });

  test("leaves out what makes no sense", () => {
    expect(leaseOfNode({ ...node, key: "/x/garbage" }, reader, time)).toBeUndefined();
    expect(leaseOfNode({ key: node.key, dir: true, modifiedIndex: 1 }, reader, time)).toBeUndefined();
  });
});
