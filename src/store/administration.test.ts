import { describe, expect, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { formatPrefix, parsePrefix } from "../ip/prefix.ts";
import { ConfigNotFoundError, LeaseLostError, LeaseTakenError } from "../lease/errors.ts";
import { LEASE_TTL } from "../lease/lease.ts";
import { InvalidConfigError } from "../lib/errors.ts";
import { FakeClock } from "../lib/fake-clock.ts";
import { silentLogger } from "../lib/logger.ts";
import { failure } from "./conformance/registry-bench.ts";
import { MemoryRegistry } from "./memory/memory-registry.ts";
import { MemoryStore } from "./memory/memory-store.ts";
import { ConfigConflictError } from "./registry.ts";
import { RegistrySubnetManager } from "./registry-subnet-manager.ts";

const NETWORK = "";
const options = { signal: new AbortController().signal };
const CONFIG = '{"Network":"10.5.0.0/16","SubnetMax":"10.5.99.0"}';
const SUBNET = parsePrefix("10.5.77.0/24");
const OURS = parseAddress("192.0.2.77");

function bench(config = CONFIG) {
  const clock = new FakeClock();
  const store = new MemoryStore({ clock });
  const registry = new MemoryRegistry(store, { logger: silentLogger });
  const manager = new RegistrySubnetManager(registry, { clock, logger: silentLogger });
  if (config !== "") store.setConfig(NETWORK, config);
  const put = (subnet: string, publicIP: string, more = "") =>
    store.put(NETWORK, subnet.replace("/", "-"), `{"PublicIP":"${publicIP}"${more}}`, LEASE_TTL);
  const reserve = (subnet: string, publicIP = OURS) =>
    manager.addReservation(NETWORK, { subnet: parsePrefix(subnet), publicIP }, options);
  return { clock, store, registry, manager, put, reserve };
}

describe("config", () => {
  test("setConfig() stores no config that flannel could not run with", async () => {
    const { manager } = bench();
    const error = await failure(manager.setConfig(NETWORK, '{"Network":"10.5.0.0/33"}', options));
    expect(error).toBeInstanceOf(InvalidConfigError);
    expect((await manager.getConfig(NETWORK, options)).text).toBe(CONFIG);
  });

  test("setConfig() stores the text as it is, over the expected revision only", async () => {
    const { manager } = bench();
    const text = '{ "network" : "10.6.0.0/16" }\n';
    const { revision: expected } = await manager.getConfig(NETWORK, options);
    await manager.setConfig(NETWORK, text, { ...options, expected });
    expect((await manager.getConfig(NETWORK, options)).text).toBe(text);
    const error = await failure(manager.setConfig(NETWORK, text, { ...options, expected }));
    expect(error).toBeInstanceOf(ConfigConflictError);
  });
});

describe("leases", () => {
  test("listLeases() is ordered by subnet as a number, with expirations", async () => {
    const { clock, manager, put } = bench();
    for (const subnet of ["10.5.100.0/24", "10.5.20.0/24", "10.5.3.0/25", "10.5.3.0/24"]) put(subnet, "192.0.2.1");
    const leases = await manager.listLeases(NETWORK, options);
    expect(leases.map((lease) => formatPrefix(lease.subnet))).toEqual([
      "10.5.3.0/24",
      "10.5.3.0/25",
      "10.5.20.0/24",
      "10.5.100.0/24",
    ]);
    for (const lease of leases) expect(lease.expiresAt).toBe(clock.now() + LEASE_TTL);
  });

  test("revokeLease() removes the lease, also one with an IPv6 subnet in its key", async () => {
    const { store, manager, put } = bench();
    put("10.5.3.0/24", "192.0.2.1");
    store.put(NETWORK, "10.5.4.0-24&fc00::-64", '{"PublicIP":"192.0.2.1"}', LEASE_TTL);
    await manager.revokeLease(NETWORK, parsePrefix("10.5.3.0/24"), options);
    await manager.revokeLease(NETWORK, parsePrefix("10.5.4.0/24"), options);
    expect(await manager.listLeases(NETWORK, options)).toEqual([]);
    const error = await failure(manager.revokeLease(NETWORK, parsePrefix("10.5.3.0/24"), options));
    expect(error).toBeInstanceOf(LeaseLostError);
  });

  test("revokeLease() removes a lease that its host renews at the same moment", async () => {
    const { store, registry, manager, put } = bench();
    put("10.5.3.0/24", "192.0.2.1");
    const remove = registry.deleteLease.bind(registry);
    let races = 0;
    registry.deleteLease = (...parameters) => {
      if (races++ < 3) put("10.5.3.0/24", "192.0.2.1");
      return remove(...parameters);
    };
    await manager.revokeLease(NETWORK, parsePrefix("10.5.3.0/24"), options);
    expect(store.entries(NETWORK).size).toBe(0);
  });
});

describe("reservations", () => {
  test("addReservation() keeps the subnet without an end", async () => {
    const { clock, store, manager, reserve } = bench();
    await reserve("10.5.77.0/24");
    await reserve("10.5.9.0/24", parseAddress("192.0.2.9"));
    const before = store.cursor;
    await reserve("10.5.77.0/24");
    expect(store.cursor).toEqual(before);
    await clock.advance(2 * LEASE_TTL);
    expect(await manager.listReservations(NETWORK, options)).toEqual([
      { subnet: parsePrefix("10.5.9.0/24"), publicIP: parseAddress("192.0.2.9") },
      { subnet: SUBNET, publicIP: OURS },
    ]);
  });

  test("addReservation() makes a reservation of the host's lease, and keeps what it says", async () => {
    const { manager, put, reserve } = bench();
    put("10.5.77.0/24", "192.0.2.77", ',"BackendType":"vxlan","BackendData":{"VtepMAC":"66:72:44:0d:7e:1a"}');
    await reserve("10.5.77.0/24");
    expect(await manager.listLeases(NETWORK, options)).toMatchObject([
      { isReservation: true, attributes: { publicIP: OURS, backendData: { VtepMAC: "66:72:44:0d:7e:1a" } } },
    ]);
  });

  test.each([
    ["10.5.77.0/25", "Subnet: 10.5.77.0/25 is not a /24, as SubnetLen says"],
    ["10.9.77.0/24", "Subnet: 10.9.77.0/24 is none of the subnets from 10.5.1.0/24 to 10.5.99.0/24"],
    ["10.5.100.0/24", "Subnet: 10.5.100.0/24 is none of the subnets from 10.5.1.0/24 to 10.5.99.0/24"],
    ["10.5.7.1/24", "Subnet: 10.5.7.1/24 is none of the subnets from 10.5.1.0/24 to 10.5.99.0/24"],
  ])("addReservation() refuses %s, which does not fit the config", async (subnet, message) => {
    const { store, reserve } = bench();
    const error = await failure(reserve(subnet));
    expect(error).toBeInstanceOf(InvalidConfigError);
    expect((error as InvalidConfigError).message).toBe(message);
    expect(store.entries(NETWORK).size).toBe(0);
  });

  test("addReservation() refuses an IPv6 address and a network without config", async () => {
    expect(await failure(bench().reserve("10.5.7.0/24", parseAddress("::1")))).toBeInstanceOf(InvalidConfigError);
    expect(await failure(bench("").reserve("10.5.7.0/24"))).toBeInstanceOf(ConfigNotFoundError);
  });

  test.each([
    ["10.5.77.0/24", "192.0.2.1"],
    ["10.5.77.64/26", "192.0.2.77"],
    ["10.5.76.0/23", "192.0.2.1"],
  ])("addReservation() throws LeaseTakenError if %s of %s is in the way", async (subnet, holder) => {
    const { manager, put, reserve } = bench();
    put(subnet, holder);
    const error = await failure(reserve("10.5.77.0/24"));
    expect(error).toBeInstanceOf(LeaseTakenError);
    expect((error as LeaseTakenError).subnet).toEqual(parsePrefix(subnet));
    expect(await manager.listReservations(NETWORK, options)).toEqual([]);
  });

  test("addReservation() throws LeaseTakenError if another host is quicker", async () => {
    const { store, registry, put, reserve } = bench();
    const create = registry.createLease.bind(registry);
    registry.createLease = (...parameters) => {
      put("10.5.77.0/24", "192.0.2.1");
      return create(...parameters);
    };
    expect(await failure(reserve("10.5.77.0/24"))).toBeInstanceOf(LeaseTakenError);
    expect(store.entries(NETWORK).size).toBe(1);
  });

  test("removeReservation() makes it a lease that ends in 24 hours", async () => {
    const { clock, store, manager, reserve } = bench();
    await reserve("10.5.77.0/24");
    await manager.removeReservation(NETWORK, SUBNET, options);
    expect(await manager.listLeases(NETWORK, options)).toMatchObject([
      { subnet: SUBNET, isReservation: false, expiresAt: clock.now() + LEASE_TTL, attributes: { publicIP: OURS } },
    ]);
    await clock.advance(LEASE_TTL);
    expect(store.entries(NETWORK).size).toBe(0);
  });

  test("removeReservation() throws LeaseLostError if there is none, and leaves a lease alone", async () => {
    const { clock, manager, put } = bench();
    expect(await failure(manager.removeReservation(NETWORK, SUBNET, options))).toBeInstanceOf(LeaseLostError);
    const { revision } = put("10.5.77.0/24", "192.0.2.77");
    await clock.advance(1000);
    expect(await failure(manager.removeReservation(NETWORK, SUBNET, options))).toBeInstanceOf(LeaseLostError);
    expect(await manager.listLeases(NETWORK, options)).toMatchObject([{ revision }]);
  });
});
