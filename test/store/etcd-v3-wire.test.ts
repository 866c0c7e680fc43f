import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { HistoryLostError, LeaseLostError, LeaseTakenError, StoreUnavailableError } from "../../src/lease/errors.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { silentLogger } from "../../src/lib/logger.ts";
import { parseEtcdOptions } from "../../src/store/etcd/options.ts";
import { EtcdV3Client, encode } from "../../src/store/etcd-v3/etcd-v3-client.ts";
import { EtcdV3Registry } from "../../src/store/etcd-v3/etcd-v3-registry.ts";
import { ConfigConflictError } from "../../src/store/registry.ts";
import { EtcdServer } from "../support/etcd.ts";
import { GrpcProxy } from "./grpc-proxy.ts";

const { signal } = new AbortController();
const options = { signal };
const subnet = parsePrefix("10.5.34.0/24");
const vxlan = {
  publicIP: parseAddress("192.168.77.11"),
  backendType: "vxlan",
  backendData: { VNI: 1, VtepMAC: "66:72:44:0d:7e:1a" },
};
const claim = { subnet, attributes: vxlan, isReservation: false };
const other = { ...claim, attributes: { publicIP: parseAddress("192.168.77.12"), backendType: "host-gw" } };
const value =
  '{"PublicIP":"192.168.77.11","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"66:72:44:0d:7e:1a"}}';

let etcd: EtcdServer;
let proxy: GrpcProxy;
let registry: EtcdV3Registry;
let tests = 0;
let prefix: string;

beforeAll(async () => {
  etcd = await EtcdServer.start({ v2: false });
});
afterAll(() => etcd[Symbol.asyncDispose]());
beforeEach(async () => {
  prefix = `/wire/${++tests}`;
  proxy = await GrpcProxy.start(etcd.endpoint);
  registry = new EtcdV3Registry(parseEtcdOptions({ endpoints: proxy.endpoint, prefix }), {
    clock: systemClock,
    logger: silentLogger,
  });
  return async () => {
    await registry[Symbol.asyncDispose]();
    await proxy[Symbol.asyncDispose]();
  };
});

interface Stored {
  readonly key: string;
  readonly value: string;
  /** The etcd lease's id, 0 if there is none. */
  readonly lease: bigint;
}

/** Everything below the prefix, as etcdctl shows it. */
async function stored(): Promise<readonly Stored[]> {
  const json = (await etcd.ctl("get", "--prefix", `${prefix}/`, "--write-out=json")).replace(
    /"lease":(\d+)/g, // too long for JSON.parse
    '"lease":"$1"',
  );
  const { kvs = [] } = JSON.parse(json) as { readonly kvs?: readonly { key: string; value: string; lease?: string }[] };
  return kvs.map((kv) => ({ key: atob(kv.key), value: atob(kv.value), lease: BigInt(kv.lease ?? 0) }));
}

async function leaseIds(): Promise<readonly bigint[]> {
  return (await etcd.ctl("lease", "list"))
    .split("\n")
    .flatMap((line) => (/^[0-9a-f]+$/.test(line) ? [BigInt(`0x${line}`)] : []));
}

const hex = (id: bigint) => id.toString(16);

describe("EtcdV3Registry in etcd", () => {
  test("writes keys and values byte for byte as later releases do", async () => {
    await registry.setConfig("", '{"Network":"10.5.0.0/16"}', options);
    await registry.createLease("", claim, options);
    await registry.setConfig("blue", '{"Network":"10.6.0.0/16"}', options);
    await registry.createLease("blue", other, options);
    expect(await stored()).toMatchObject([
      { key: `${prefix}/blue/config`, value: '{"Network":"10.6.0.0/16"}', lease: 0n },
      {
        key: `${prefix}/blue/subnets/10.5.34.0-24`,
        value: '{"PublicIP":"192.168.77.12","PublicIPv6":null,"BackendType":"host-gw"}',
      },
      { key: `${prefix}/config`, value: '{"Network":"10.5.0.0/16"}', lease: 0n },
      { key: `${prefix}/subnets/10.5.34.0-24`, value },
    ]);
  });

  test("reads what later releases write, dual-stack leases too", async () => {
    const granted = /lease (\w+) granted/.exec(await etcd.ctl("lease", "grant", "86400"))?.[1] ?? "";
    await etcd.ctl(
      "put",
      `${prefix}/subnets/10.5.34.0-24&fc00::-64`,
      value.replace("null", '"2001:db8::1"'),
      `--lease=${granted}`,
    );
    await etcd.ctl("put", `${prefix}/subnets/10.5.35.0-24`, value);
    const { leases } = await registry.listLeases("", { ...options, withExpirations: true });
    expect(leases).toMatchObject([
      { subnet, ipv6Subnet: parsePrefix("fc00::/64"), isReservation: false, expiresAt: expect.any(Number) },
      { subnet: parsePrefix("10.5.35.0/24"), attributes: vxlan, isReservation: true },
    ]);
    expect(leases[0]?.attributes.publicIPv6).toEqual(parseAddress("2001:db8::1"));
    expect(leases[1]?.expiresAt).toBeUndefined();
    expect(await registry.getLease("", subnet, options)).toMatchObject({ ipv6Subnet: parsePrefix("fc00::/64") });
  });

  test("takes an IPv4 subnet for taken that is part of a dual-stack lease", async () => {
    await etcd.ctl("put", `${prefix}/subnets/10.5.34.0-24&fc00::-64`, value);
    await expect(registry.createLease("", other, options)).rejects.toThrow(LeaseTakenError);
    expect(await stored()).toHaveLength(1);
  });

  test("hangs each lease on an etcd lease of 24 hours of its own, a new one at every renewal, and tidies up the former", async () => {
    const lease = await registry.createLease("", claim, options);
    const [first] = await stored();
    expect(await etcd.ctl("lease", "timetolive", hex(first?.lease ?? 0n))).toMatch(
      /TTL\(86400s\), remaining\(86\d\d\ds\)/,
    );
    const renewed = await registry.updateLease("", lease, claim, options);
    const [second] = await stored();
    expect(second?.lease).not.toBe(first?.lease);
    expect(await leaseIds()).not.toContain(first?.lease);
    expect(renewed.revision).toBeGreaterThan(lease.revision);
  });

  test("leaves a former etcd lease alone that something else hangs on", async () => {
    const lease = await registry.createLease("", claim, options);
    const [first] = await stored();
    await etcd.ctl("put", `/elsewhere/${tests}`, "theirs", `--lease=${hex(first?.lease ?? 0n)}`);
    await registry.updateLease("", lease, claim, options);
    expect(await leaseIds()).toContain(first?.lease);
    expect(await etcd.ctl("get", `/elsewhere/${tests}`, "--print-value-only")).toBe("theirs\n");
  });

  test("hangs a reservation on no lease, and leaves no lease behind when it loses a race", async () => {
    const reservation = await registry.createLease("", { ...claim, isReservation: true }, options);
    expect(await stored()).toEqual([{ key: `${prefix}/subnets/10.5.34.0-24`, value, lease: 0n }]);
    const before = await leaseIds();
    await expect(registry.createLease("", other, options)).rejects.toThrow(LeaseTakenError);
    await expect(registry.updateLease("", { ...reservation, revision: 1n }, other, options)).rejects.toThrow(
      LeaseLostError,
    );
    expect(new Set(await leaseIds())).toEqual(new Set(before));
  });

  test("lists more leases than fit into a page, at one revision", async () => {
    const count = 5_003;
    const parsed = parseEtcdOptions({ endpoints: etcd.endpoint, prefix });
    const client = new EtcdV3Client(parsed, { clock: systemClock, logger: silentLogger });
    for (let first = 0; first < count; first += 100) {
      const numbers = Array.from({ length: Math.min(100, count - first) }, (_, index) => first + index);
      const keys = numbers.map((n) => encode(`${prefix}/subnets/10.${n >> 8}.${n & 255}.0-24`));
      const success = keys.map((key) => ({ requestPut: { key, value: encode(value) } }) as const);
      await client.txn({ success }, { signal, purpose: "fill" });
    }
    client.close();
    const { leases, cursor } = await registry.listLeases("", options);
    expect(new Set(leases.map((lease) => lease.subnet.address.value)).size).toBe(count);
    expect(cursor.index).toBeGreaterThanOrEqual(leases.at(-1)?.revision ?? 0n);
    expect(proxy.calls.filter((call) => call.endsWith("Range"))).toHaveLength(2);
  });
});

describe("EtcdV3Registry whose write's answer is lost", () => {
  /** Does the next transaction, but loses its answer. */
  function loseAnswer(then: () => void = () => undefined): void {
    let isLost = false;
    proxy.tamper = (path) => {
      if (isLost || !path.endsWith("/Txn")) return "pass";
      isLost = true;
      then();
      return "lose answer";
    };
  }

  test.each([false, true])("finds its own new lease, reservation: %s", async (isReservation) => {
    loseAnswer();
    const lease = await registry.createLease("", { ...claim, isReservation }, options);
    expect(await registry.getLease("", subnet, options)).toMatchObject({ revision: lease.revision, isReservation });
    expect(proxy.calls.filter((call) => call.endsWith("/Txn"))).toHaveLength(1);
  });

  test("finds its lease renewed, with the etcd lease it still hangs on", async () => {
    const lease = await registry.createLease("", claim, options);
    loseAnswer();
    const renewed = await registry.updateLease("", lease, claim, options);
    const found = await registry.getLease("", subnet, options);
    expect(found).toMatchObject({ revision: renewed.revision, isReservation: false });
    expect(found?.expiresAt).toBeDefined();
  });

  test("finds the lease deleted, and the config set", async () => {
    const lease = await registry.createLease("", claim, options);
    loseAnswer();
    await registry.deleteLease("", lease, options);
    expect(await registry.getLease("", subnet, options)).toBeUndefined();
    loseAnswer();
    await registry.setConfig("", "{}", { ...options, expected: 0n });
    expect((await registry.getConfig("", options)).text).toBe("{}");
  });

  test("throws StoreUnavailableError if nothing was written, and takes no other's write for its own", async () => {
    await registry.getConfig("", options).catch(() => undefined);
    let isReset = false;
    proxy.tamper = (path) => {
      if (isReset || !path.endsWith("/Txn")) return "pass";
      isReset = true;
      return "reset";
    };
    await expect(registry.createLease("", claim, options)).rejects.toThrow(StoreUnavailableError);
    expect(await stored()).toEqual([]);
    await etcd.ctl("put", `${prefix}/config`, "theirs");
    loseAnswer();
    await expect(registry.setConfig("", "ours", { ...options, expected: 0n })).rejects.toThrow(StoreUnavailableError);
    await expect(registry.setConfig("", "ours", { ...options, expected: 0n })).rejects.toThrow(ConfigConflictError);
  });
});

test("EtcdV3Registry tells of a history that was compacted while its watch was away", async () => {
  const { cursor } = await registry.listLeases("", options);
  const watch = registry.watchLeases("", cursor, options)[Symbol.asyncIterator]();
  expect((await watch.next()).value?.events).toEqual([]);
  proxy.tamper = () => "reset";
  const outage = watch.next().catch((error: unknown) => error); // at once: it may come before the other one's
  await registry.getConfig("", options).catch(() => undefined); // its reset ends the watch too
  expect(await outage).toBeInstanceOf(StoreUnavailableError);
  await etcd.ctl("put", `${prefix}/subnets/10.5.34.0-24`, value);
  await etcd.ctl("put", `${prefix}/subnets/10.5.34.0-24`, value);
  await etcd.compact();
  proxy.tamper = () => "pass";
  await expect(registry.watchLeases("", cursor, options)[Symbol.asyncIterator]().next()).rejects.toThrow(
    HistoryLostError,
  );
});
