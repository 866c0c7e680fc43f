import { describe, expect, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { formatPrefix, parsePrefix } from "../ip/prefix.ts";
import { LeaseTakenError, OutOfSubnetsError, StoreRefusedError, StoreUnavailableError } from "../lease/errors.ts";
import { LEASE_TTL, type Lease } from "../lease/lease.ts";
import { formatLeaseKey } from "../lease/lease-codec.ts";
import { parseNetworkConfig } from "../lease/network-config.ts";
import type { LeaseRequest } from "../lease/subnet-manager.ts";
import { FakeClock } from "../lib/fake-clock.ts";
import { RecordingLogger } from "../lib/recording-logger.ts";
import { failure } from "./conformance/registry-bench.ts";
import { MemoryRegistry } from "./memory/memory-registry.ts";
import { MemoryStore } from "./memory/memory-store.ts";
import { RegistrySubnetManager } from "./registry-subnet-manager.ts";

const options = { signal: new AbortController().signal };
const OURS = parseAddress("192.0.2.1");
const OTHERS = parseAddress("192.0.2.9");
const CONFIG = '{"Network":"10.5.0.0/16"}';
const valueOf = (text: string) => `{"PublicIP":"${text}"}`;

function bench(random: () => number = Math.random) {
  const clock = new FakeClock();
  const store = new MemoryStore({ clock });
  const logger = new RecordingLogger();
  const registry = new MemoryRegistry(store, { logger });
  const manager = new RegistrySubnetManager(registry, { clock, logger, random });
  const take = (request: Partial<LeaseRequest> & { readonly text?: string } = {}) =>
    manager.acquireLease(
      "",
      {
        publicIP: OURS,
        config: parseNetworkConfig(request.text ?? CONFIG),
        attributes: () => ({ publicIP: request.publicIP ?? OURS }),
        previous: [],
        ...request,
      },
      options,
    );
  const put = (subnet: string, publicIP: string) =>
    store.put("", subnet.replace("/", "-"), valueOf(publicIP), LEASE_TTL);
  const reserve = (subnet: string, publicIP: string) =>
    store.put("", subnet.replace("/", "-"), valueOf(publicIP), undefined);
  const keys = () => [...store.entries("").keys()].toSorted();
  return { clock, store, logger, registry, manager, take, put, reserve, keys };
}

const subnetOf = (lease: Lease) => formatPrefix(lease.subnet);

describe("acquireLease() of an own lease", () => {
  test("acquireLease() renews a lease that is nearly over", async () => {
    const { clock, take } = bench();
    const first = await take();
    await clock.advance(LEASE_TTL - 1000);
    const again = await take();
    expect(subnetOf(again)).toBe(subnetOf(first));
    expect(again.expiresAt).toBe(clock.now() + LEASE_TTL);
  });

  test("acquireLease() prefers a reservation, then the previous one, then the first of several own leases", async () => {
    const { store, take, put, reserve } = bench();
    put("10.5.3.0/24", "192.0.2.1");
    put("10.5.4.0/24", "192.0.2.1");
    put("10.5.5.0/24", "192.0.2.1");
    expect(subnetOf(await take())).toBe("10.5.3.0/24");
    const previous = [parsePrefix("10.5.9.0/24"), parsePrefix("10.5.4.0/24")];
    expect(subnetOf(await take({ previous }))).toBe("10.5.4.0/24");
    reserve("10.5.5.0/24", "192.0.2.1");
    const reserved = await take({ previous });
    expect(subnetOf(reserved)).toBe("10.5.5.0/24");
    expect(reserved.isReservation).toBe(true);
    expect(store.entries("").size).toBe(3);
  });

  test("acquireLease() makes the new lease before it removes the one that no longer fits", async () => {
    const { store, take, put } = bench();
    put("10.5.3.0/24", "192.0.2.1");
    const since = store.cursor;
    const lease = await take({ text: '{"Network":"10.5.0.0/16","SubnetLen":26}' });
    const changes = store.changesSince(since)?.map(({ key, entry }) => `${entry === undefined ? "-" : "+"} ${key}`);
    expect(changes).toEqual([`+ ${subnetOf(lease).replace("/", "-")}`, "- 10.5.3.0-24"]);
  });

  test("acquireLease() gives up its own former lease first if that alone is in the way", async () => {
    const { take, put, keys } = bench();
    put("10.5.0.64/26", "192.0.2.1");
    put("10.5.0.128/25", "192.0.2.2");
    const lease = await take({ text: '{"Network":"10.5.0.0/24","SubnetLen":27,"SubnetMin":"10.5.0.64"}' });
    expect(["10.5.0.64/27", "10.5.0.96/27"]).toContain(subnetOf(lease));
    expect(keys()).toEqual([subnetOf(lease).replace("/", "-"), "10.5.0.128-25"].toSorted());
  });

  test("acquireLease() never removes a reservation, though it does not fit", async () => {
    const { take, reserve, keys } = bench();
    reserve("10.5.3.0/25", "192.0.2.1");
    const lease = await take();
    expect(keys()).toEqual(["10.5.3.0-25", subnetOf(lease).replace("/", "-")].toSorted());
    expect(subnetOf(lease)).not.toBe("10.5.3.0/24");
    expect(subnetOf(await take())).toBe(subnetOf(lease));
  });

  test("acquireLease() waits longer and longer while someone else keeps writing its lease", async () => {
    const { clock, registry, take, put } = bench();
    put("10.5.3.0/24", "192.0.2.1");
    const update = registry.updateLease.bind(registry);
    let writes = 0;
    registry.updateLease = (...parameters) => {
      if (writes++ < 12) put("10.5.3.0/24", "192.0.2.1");
      return update(...parameters);
    };
    const taking = take();
    for (let turn = 0; turn < 200; turn++) await clock.advance(0);
    expect(writes).toBe(5);
    await clock.advance(60_000);
    expect(subnetOf(await taking)).toBe("10.5.3.0/24");
    expect(writes).toBe(13);
  });

  test("acquireLease() does not fail because a former lease could not be removed", async () => {
    const { registry, take, put, logger } = bench();
    put("10.5.3.0/24", "192.0.2.1");
    registry.deleteLease = () => Promise.reject(new StoreUnavailableError("memory", "no answer"));
    await take({ text: '{"Network":"10.5.0.0/16","SubnetLen":26}' });
    expect(logger.messages("warn")).toEqual(["a former lease could not be removed; it will expire"]);
  });
});

describe("acquireLease() of a new lease", () => {
  test("acquireLease() takes one of the first hundred free subnets, each about as often", async () => {
    const seen = new Map<string, number>();
    for (let round = 0; round < 2500; round++) {
      const subnet = subnetOf(await bench().take());
      seen.set(subnet, (seen.get(subnet) ?? 0) + 1);
    }
    const numbers = [...seen.keys()].map((subnet) => Number(subnet.split(".")[2]));
    expect(Math.min(...numbers)).toBe(1);
    expect(Math.max(...numbers)).toBe(100);
    expect(seen.size).toBeGreaterThan(95);
    expect(Math.max(...seen.values())).toBeLessThan(80);
  });

  test("acquireLease() takes no subnet that overlaps a lease of another length", async () => {
    const { take, put } = bench();
    put("10.5.0.0/17", "192.0.2.2");
    put("10.5.128.0/18", "192.0.2.3");
    put("10.5.192.0/19", "192.0.2.4");
    put("10.5.224.64/26", "192.0.2.5");
    put("10.5.226.0/23", "192.0.2.5");
    put("10.5.228.0/22", "192.0.2.5");
    put("10.5.232.0/21", "192.0.2.5");
    put("10.5.240.0/20", "192.0.2.5");
    expect(subnetOf(await take())).toBe("10.5.225.0/24");
    expect(await failure(take({ publicIP: OTHERS }))).toBeInstanceOf(OutOfSubnetsError);
  });

  test("acquireLease() leaves a subnet to the other host that took it after the listing, and goes on", async () => {
    const { registry, store, take, put } = bench();
    const create = registry.createLease.bind(registry);
    let races = 0;
    registry.createLease = (network, claim, abortable) => {
      if (races++ < 30) put(formatPrefix(claim.subnet), "192.0.2.2");
      return create(network, claim, abortable);
    };
    const lease = await take();
    expect(lease.attributes.publicIP).toEqual(OURS);
    expect(races).toBe(31);
    const values = [...store.entries("").values()].map((entry) => entry.value);
    expect(values.filter((value) => value === valueOf("192.0.2.2"))).toHaveLength(30);
  });

  test("acquireLease() yields to an older lease on the same addresses under another key", async () => {
    const { registry, take, put, keys } = bench(() => 0);
    const create = registry.createLease.bind(registry);
    let races = 0;
    registry.createLease = (network, claim, abortable) => {
      if (races++ === 0) put("10.5.1.0/24&fc00::/64".replaceAll("/", "-"), "192.0.2.2");
      return create(network, claim, abortable);
    };
    expect(subnetOf(await take())).toBe("10.5.2.0/24");
    expect(keys()).toEqual(["10.5.1.0-24&fc00::-64", "10.5.2.0-24"]);
  });

  test("acquireLease() stays if the other lease on the same addresses is the younger one", async () => {
    const { registry, take, put, keys } = bench(() => 0);
    const create = registry.createLease.bind(registry);
    registry.createLease = async (...parameters) => {
      const lease = await create(...parameters);
      put("10.5.1.0/24&fc00::/64".replaceAll("/", "-"), "192.0.2.2");
      return lease;
    };
    expect(subnetOf(await take())).toBe("10.5.1.0/24");
    expect(keys()).toEqual(["10.5.1.0-24", "10.5.1.0-24&fc00::-64"]);
  });

  test("acquireLease() lists all leases once, and again only if somebody wrote in between", async () => {
    const { registry, take, put } = bench(() => 0);
    put("10.5.200.0/24", "192.0.2.3");
    const list = registry.listLeases.bind(registry);
    let listings = 0;
    registry.listLeases = (...parameters) => {
      listings++;
      return list(...parameters);
    };
    await take();
    expect(listings).toBe(1);
    const create = registry.createLease.bind(registry);
    registry.createLease = (...parameters) => {
      put("10.5.201.0/24", "192.0.2.2");
      return create(...parameters);
    };
    await take({ publicIP: OTHERS });
    expect(listings).toBe(3);
  });

  test("acquireLease() tries each candidate of a listing once", async () => {
    const { registry, take } = bench();
    const tried: string[] = [];
    registry.createLease = (_, { subnet }) => {
      tried.push(formatPrefix(subnet));
      return Promise.reject(tried.length < 5 ? new LeaseTakenError(subnet) : new StoreRefusedError("memory", "enough"));
    };
    const text = '{"Network":"10.5.0.0/16","SubnetMax":"10.5.5.0"}';
    await failure(take({ text, previous: [parsePrefix("10.5.4.0/24")] }));
    expect(tried[0]).toBe("10.5.4.0/24");
    expect(tried.toSorted()).toEqual([1, 2, 3, 4, 5].map((number) => `10.5.${number}.0/24`));
  });

  test("acquireLease() throws OutOfSubnetsError naming the range", async () => {
    const { take, put } = bench();
    put("10.5.0.0/16", "192.0.2.2");
    const error = await failure(take());
    expect(error).toBeInstanceOf(OutOfSubnetsError);
    expect(String(error)).toContain("10.5.1.0/24 to 10.5.255.0/24");
  });

  test("acquireLease() finds the lease whose making was never answered", async () => {
    const { clock, registry, store, take } = bench();
    const create = registry.createLease.bind(registry);
    registry.createLease = async (...parameters) => {
      registry.connection = "answers-lost";
      registry.createLease = create;
      try {
        return await create(...parameters);
      } finally {
        registry.connection = "up";
      }
    };
    const taking = take();
    await clock.advance(10_000);
    const lease = await taking;
    expect([...store.entries("").keys()]).toEqual([subnetOf(lease).replace("/", "-")]);
  });

  test("acquireLease() throws StoreUnavailableError if no write is ever answered", async () => {
    const { registry, take } = bench();
    let writes = 0;
    registry.createLease = () => {
      writes++;
      return Promise.reject(new StoreUnavailableError("memory", "no answer"));
    };
    expect(await failure(take())).toBeInstanceOf(StoreUnavailableError);
    expect(writes).toBe(3);
  });

  test("acquireLease() throws StoreRefusedError and StoreUnavailableError as they are", async () => {
    const { registry, take } = bench();
    registry.connection = "refused";
    expect(await failure(take())).toBeInstanceOf(StoreRefusedError);
    registry.connection = "down";
    expect(await failure(take())).toBeInstanceOf(StoreUnavailableError);
  });
});

describe("updateLease() of a lease that was written meanwhile", () => {
  test("updateLease() recognizes its own renewal that was never answered", async () => {
    const { clock, registry, manager, take } = bench();
    const lease = await take();
    registry.connection = "answers-lost";
    const renewing = failure(manager.updateLease("", lease, lease.attributes, options));
    await clock.advance(10_000);
    expect(await renewing).toBeInstanceOf(StoreUnavailableError);
    registry.connection = "up";
    const renewed = await manager.updateLease("", lease, lease.attributes, options);
    expect(renewed.revision).toBeGreaterThan(lease.revision);
    expect(renewed.expiresAt).toBe(clock.now() + LEASE_TTL);
  });

  test("updateLease() keeps what an administrator made a reservation", async () => {
    const { manager, take, reserve } = bench();
    const lease = await take();
    reserve(subnetOf(lease), "192.0.2.1");
    const renewed = await manager.updateLease("", lease, lease.attributes, options);
    expect(renewed.isReservation).toBe(true);
  });
});

describe("acquireLease() in a network of both families", () => {
  const DUAL = '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48"}';
  const OURS_V6 = parseAddress("2001:db8::1");
  const attributes = () => ({ publicIP: OURS, publicIPv6: OURS_V6 });
  const dual = { text: DUAL, publicIPv6: OURS_V6, attributes };
  const theirs = '{"PublicIP":"192.0.2.9","PublicIPv6":"2001:db8::9"}';
  const only = (text: string) => text.replace('{"Network":"10.5.0.0/16"', '{"EnableIPv4":false');

  test("acquireLease() takes a subnet of each family, and both again", async () => {
    const { take, keys } = bench();
    const lease = await take(dual);
    expect(keys()).toEqual([formatLeaseKey(lease)]);
    expect(formatPrefix(lease.ipv6Subnet ?? lease.subnet)).toMatch(/^fd00:5:0:[0-9a-f]+::\/64$/);
    expect(lease.attributes).toEqual(attributes());
    expect(formatLeaseKey(await take(dual))).toBe(formatLeaseKey(lease));
  });

  test("acquireLease() gives a host without IPv6, as one of 0.7.0, no IPv6 subnet", async () => {
    const { take, keys } = bench();
    const lease = await take({ text: DUAL });
    expect(lease).not.toHaveProperty("ipv6Subnet");
    expect(keys()).toEqual([formatLeaseKey({ subnet: lease.subnet })]);
  });

  test("acquireLease() keeps the IPv4 subnet, and a reservation, when IPv6 comes and goes", async () => {
    const { take, reserve, keys } = bench();
    reserve("10.5.77.0/24", "192.0.2.1");
    const both = await take({ ...dual, previous: [parsePrefix("fd00:5:0:7::/64")] });
    expect(both).toMatchObject({ isReservation: true, ipv6Subnet: parsePrefix("fd00:5:0:7::/64") });
    expect(keys()).toEqual(["10.5.77.0-24&fd00:5:0:7::-64"]);
    expect(await take()).toMatchObject({ isReservation: true });
    expect(keys()).toEqual(["10.5.77.0-24"]);
  });

  test("acquireLease() takes another IPv6 subnet when the config moves it, and only that", async () => {
    const { take } = bench();
    const before = await take(dual);
    const after = await take({ ...dual, text: DUAL.replace("fd00:5::", "fd00:6::") });
    expect(subnetOf(after)).toBe(subnetOf(before));
    expect(formatPrefix(after.ipv6Subnet ?? after.subnet)).toMatch(/^fd00:6:/);
  });

  test("acquireLease() takes no IPv6 subnet that overlaps another's, whatever IPv4 subnet that one has", async () => {
    const { store, take } = bench();
    const text = '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/62"}';
    store.put("", "10.5.1.0-24&fd00:5:0:1::-64", theirs, LEASE_TTL);
    store.put("", "0.0.0.0-0&fd00:5:0:2::-64", '{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::8"}', LEASE_TTL);
    const previous = [parsePrefix("fd00:5:0:1::/64")];
    expect(formatPrefix((await take({ ...dual, text, previous })).ipv6Subnet ?? parsePrefix("::/0"))).toBe(
      "fd00:5:0:3::/64",
    );
    const late = { ...dual, text, publicIP: parseAddress("192.0.2.7"), publicIPv6: parseAddress("2001:db8::7") };
    expect(await failure(take(late))).toMatchObject({
      code: "out-of-subnets",
      message: expect.stringContaining("out of IPv6 subnets: all from fd00:5:0:1::/64 to fd00:5:0:3::/64"),
    });
  });

  test("acquireLease() leaves an IPv6 subnet to who had it first by a moment, and takes another, alone or with a new lease", async () => {
    for (const isNew of [true, false]) {
      const { store, take, registry } = bench(() => 0);
      if (!isNew) await take();
      const first = "fd00:5:0:1::/64";
      const write = isNew ? "createLease" : "updateLease";
      const original = registry[write].bind(registry) as (...args: unknown[]) => Promise<Lease>;
      let isRaced = false;
      const race = async (...args: unknown[]) => {
        if (!isRaced) store.put("", "10.5.99.0-24&fd00:5:0:1::-64", theirs, LEASE_TTL);
        isRaced = true;
        return await original(...args);
      };
      Object.assign(registry, { [write]: race });
      const lease = await take(dual);
      expect(formatPrefix(lease.ipv6Subnet ?? parsePrefix("::/0"))).not.toBe(first);
      expect([...store.entries("").keys()].filter((key) => key.includes("&fd00:5:0:1::-64"))).toHaveLength(1);
    }
  });

  test("acquireLease() of a network of IPv6 alone takes an IPv6 subnet, and refuses a host that has only IPv4", async () => {
    const { take, keys } = bench();
    const request = { text: only(DUAL), publicIP: OURS_V6 };
    const lease = await take(request);
    expect(lease.subnet.address.family).toBe(6);
    expect(keys()).toEqual([`0.0.0.0-0&${formatPrefix(lease.subnet).replace("/", "-")}`]);
    expect((await take(request)).subnet).toEqual(lease.subnet);
    expect(await failure(take({ text: only(DUAL) }))).toMatchObject({
      message: expect.stringContaining("192.0.2.1 is not of IPv6"),
    });
  });

  test("acquireLease() knows its own lease again when a network of IPv6 alone gets IPv4", async () => {
    const { take, keys } = bench();
    const before = await take({ text: only(DUAL), publicIP: OURS_V6 });
    const after = await take({ ...dual, previous: [before.subnet] });
    expect(after.ipv6Subnet).toEqual(before.subnet);
    expect(keys()).toEqual([formatLeaseKey(after)]);
  });
});
