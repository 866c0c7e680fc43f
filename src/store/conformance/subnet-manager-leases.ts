// Tests of every subnet manager.
import { describe, expect, test } from "vitest";
import { parseAddress } from "../../ip/address.ts";
import { formatPrefix, parsePrefix } from "../../ip/prefix.ts";
import { fitsConfig } from "../../lease/allocation.ts";
import { ConfigNotFoundError, LeaseLostError, OutOfSubnetsError } from "../../lease/errors.ts";
import type { Lease } from "../../lease/lease.ts";
import { parseNetworkConfig } from "../../lease/network-config.ts";
import type { SubnetManager } from "../../lease/subnet-manager.ts";
import { InvalidConfigError } from "../../lib/errors.ts";
import { AT_ONCE, failure } from "./registry-bench.ts";
import { attributesOf, CONFIG, host, type MakeManagerTest } from "./subnet-manager-bench.ts";
import type { SubnetManagerFixture, SubnetManagerHarness } from "./subnet-manager-harness.ts";

const DUAL = '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}';
const NARROW = '{"Network":"10.5.0.0/20","SubnetLen":26}';

/** Registers the tests of configs and of leases that every store gives. */
export function describeHolding<Fixture extends SubnetManagerFixture>(
  name: string,
  harness: SubnetManagerHarness<Fixture>,
  bench: MakeManagerTest<Fixture>,
): void {
  describe(`${name}: config and own lease`, () => {
    test(
      "networkConfig() throws ConfigNotFoundError if there is none",
      bench(async ({ manager, network, options }) => {
        expect(await failure(manager.networkConfig(network, options))).toBeInstanceOf(ConfigNotFoundError);
      }),
    );

    test(
      "networkConfig() gives the config with its defaults",
      bench(async ({ manager, network, options, configure }) => {
        await configure();
        expect(await manager.networkConfig(network, options)).toEqual(parseNetworkConfig(CONFIG));
      }),
    );

    test(
      "acquireLease() gives a lease that fits the config and says what it was asked to",
      bench(async ({ take, configure }) => {
        await configure();
        const lease = await take(host(1));
        expect(fitsConfig(lease.subnet, parseNetworkConfig(CONFIG))).toBe(true);
        expect(lease.attributes).toEqual(attributesOf(host(1)));
      }),
    );

    test(
      "acquireLease() gives subnets of both families where the network and the host have both, and they stay",
      bench(async ({ manager, network, take, configure, options, follow }) => {
        if (!harness.choosesSubnets) return;
        await configure(DUAL);
        const publicIPv6 = parseAddress("2001:db8::1");
        const attributes = { ...attributesOf(host(1)), publicIPv6, backendV6Data: { of: "6" } };
        const request = { publicIPv6, attributes: () => attributes };
        const lease = await take(host(1), request);
        const { ipv6Subnet = lease.subnet } = lease;
        expect(fitsConfig(ipv6Subnet, parseNetworkConfig(DUAL).ipv6 ?? parseNetworkConfig(DUAL))).toBe(true);
        expect(lease.attributes).toEqual(attributes);
        const renewed = await manager.updateLease(network, lease, attributes, options);
        expect(renewed).toMatchObject({ subnet: lease.subnet, ipv6Subnet, attributes });
        expect(await take(host(1), request)).toMatchObject({ subnet: lease.subnet, ipv6Subnet });
        const [listed] = (await follow(manager).until((all) => all.length > 0)).flatMap((update) =>
          update.type === "snapshot" ? update.leases : [],
        );
        expect(listed).toMatchObject({ subnet: lease.subnet, ipv6Subnet, attributes });
        expect(await take(host(2))).not.toHaveProperty("ipv6Subnet");
      }),
    );

    test(
      "acquireLease() finds the own lease again by its public IP, and may keep what it says",
      bench(async ({ take, configure }) => {
        await configure();
        const first = await take(host(1));
        const seen: (Lease | undefined)[] = [];
        const attributes = (existing: Lease | undefined) => {
          seen.push(existing);
          return { ...attributesOf(host(1)), backendData: { kept: existing?.attributes.backendData ?? null } };
        };
        const again = await take(host(1), { attributes });
        expect(again.subnet).toEqual(first.subnet);
        expect(seen.at(-1)).toMatchObject({ subnet: first.subnet, attributes: first.attributes });
        expect(again.attributes.backendData).toEqual({ kept: first.attributes.backendData });
      }),
    );

    test(
      "updateLease() renews the lease and changes what it says, never the subnet",
      bench(async ({ manager, network, options, take, configure }) => {
        await configure();
        const first = await take(host(1));
        const attributes = { ...attributesOf(host(1)), backendData: "changed" };
        const second = await manager.updateLease(network, first, attributes, options);
        expect(second).toMatchObject({ subnet: first.subnet, attributes });
        const third = await manager.updateLease(network, second, second.attributes, options);
        expect(third).toMatchObject({ subnet: first.subnet, attributes });
      }),
    );

    test(
      "every call ends at once when it is aborted",
      bench(async ({ manager, network, take, configure, follow }) => {
        await configure();
        const lease = await take(host(1));
        const signal = AbortSignal.abort(new Error("stop"));
        expect(await failure(manager.networkConfig(network, { signal }))).toBe(signal.reason);
        expect(await failure(manager.updateLease(network, lease, lease.attributes, { signal }))).toBe(signal.reason);
        const watch = follow(manager);
        await watch.until((updates) => updates.length > 0);
        const before = performance.now();
        await watch.stop();
        expect(performance.now() - before).toBeLessThan(AT_ONCE);
      }),
    );

    const { removeLease } = harness;
    if (removeLease !== undefined) testRemoval(bench, removeLease);
  });
}

function testRemoval<Fixture extends SubnetManagerFixture>(
  bench: MakeManagerTest<Fixture>,
  removeLease: NonNullable<SubnetManagerHarness<Fixture>["removeLease"]>,
): void {
  test(
    "updateLease() throws LeaseLostError if the lease is gone, or is another host's by now",
    bench(async ({ fixture, manager, network, options, take, configure }) => {
      await configure();
      const lease = await take(host(1));
      await removeLease(fixture, lease.subnet);
      const renew = () => failure(manager.updateLease(network, lease, lease.attributes, options));
      expect(await renew()).toBeInstanceOf(LeaseLostError);
      await take(host(2), { previous: [lease.subnet] });
      expect(await renew()).toBeInstanceOf(LeaseLostError);
    }),
  );
}

/** Registers the tests of stores in which hosts choose their subnets. */
export function describeChoosing<Fixture extends SubnetManagerFixture>(
  name: string,
  harness: SubnetManagerHarness<Fixture>,
  bench: MakeManagerTest<Fixture>,
): void {
  describe(`${name}: choosing a subnet`, () => {
    test(
      "networkConfig() throws InvalidConfigError naming the field",
      bench(async ({ fixture, manager, network, options }) => {
        await fixture.setConfig('{"Network":"10.5.0.0/33"}');
        const error = await failure(manager.networkConfig(network, options));
        expect(error).toBeInstanceOf(InvalidConfigError);
        expect((error as InvalidConfigError).path).toBe("Network");
      }),
    );

    test(
      "acquireLease() takes the first previous subnet that is free and fits",
      bench(async ({ take, configure, second }) => {
        await configure();
        const theirs = await take(host(9), { through: await second() });
        const previous = ["10.9.0.0/24", "10.5.0.0/24", "10.5.7.0/25", formatPrefix(theirs.subnet), "10.5.200.0/24"];
        const lease = await take(host(1), { previous: previous.map((text) => parsePrefix(text)) });
        expect(lease.subnet).toEqual(parsePrefix("10.5.200.0/24"));
      }),
    );

    test(
      "acquireLease() replaces an own lease that no longer fits the config",
      bench(async ({ take, configure, manager, follow }) => {
        await configure();
        const former = await take(host(1), { previous: [parsePrefix("10.5.1.0/24")] });
        await configure(NARROW);
        const lease = await take(host(1));
        expect(fitsConfig(lease.subnet, parseNetworkConfig(NARROW))).toBe(true);
        const [snapshot] = await follow(manager).until((updates) => updates.length > 0);
        const subnets = snapshot?.type === "snapshot" ? snapshot.leases.map((each) => each.subnet) : [];
        expect(subnets).toEqual([lease.subnet]);
        expect(subnets).not.toContainEqual(former.subnet);
      }),
    );

    test(
      "acquireLease() gives fifty hosts that start at once subnets of their own, of 63",
      bench(async ({ manager, take, configure, second }) => {
        await configure(NARROW);
        const through: readonly SubnetManager[] = [manager, await second(), await second()];
        const leases = await Promise.all(
          Array.from({ length: 50 }, (_, index) => take(host(index + 1), { through: through[index % 3] ?? manager })),
        );
        expect(new Set(leases.map((lease) => formatPrefix(lease.subnet))).size).toBe(50);
        for (const [index, lease] of leases.entries()) expect(lease.attributes.publicIP).toEqual(host(index + 1));
      }),
    );

    test(
      "acquireLease() gives the only subnet to one of eight, and the others OutOfSubnetsError naming the range",
      bench(async ({ take, configure, second }) => {
        await configure('{"Network":"10.5.0.0/24"}');
        const hosts = [1, 2, 3, 4, 5, 6, 7, 8].map((number) => host(number));
        const results = await Promise.allSettled(
          hosts.map(async (publicIP) => await take(publicIP, { through: await second() })),
        );
        expect(results.filter((result) => result.status === "fulfilled")).toHaveLength(1);
        for (const result of results)
          if (result.status === "rejected") {
            if (!(result.reason instanceof OutOfSubnetsError)) throw result.reason;
            if (!result.reason.message.includes("10.5.0.128/25")) throw result.reason;
          }
      }),
    );

    const { administration } = harness;
    if (administration !== undefined) testReservations(bench, administration);
  });
}

function testReservations<Fixture extends SubnetManagerFixture>(
  bench: MakeManagerTest<Fixture>,
  administration: NonNullable<SubnetManagerHarness<Fixture>["administration"]>,
): void {
  test(
    "acquireLease() takes the subnet reserved for the host, and it stays a reservation",
    bench(async ({ fixture, manager, network, options, take, configure }) => {
      await configure();
      const reservations = administration(fixture);
      const reserved = { subnet: parsePrefix("10.5.77.0/24"), publicIP: host(1) };
      await take(host(1), { previous: [parsePrefix("10.5.5.0/24")] });
      await reservations.addReservation(network, reserved, options);
      const lease = await take(host(1), { previous: [parsePrefix("10.5.5.0/24")] });
      expect(lease).toMatchObject({ subnet: reserved.subnet, isReservation: true, attributes: attributesOf(host(1)) });
      const renewed = await manager.updateLease(network, lease, lease.attributes, options);
      expect(renewed.isReservation).toBe(true);
      expect(await reservations.listReservations(network, options)).toEqual([reserved]);
    }),
  );

  test(
    "acquireLease() leaves subnets alone that are reserved for others",
    bench(async ({ fixture, network, options, take, configure }) => {
      await configure('{"Network":"10.5.0.0/24"}');
      const reserved = { subnet: parsePrefix("10.5.0.128/25"), publicIP: host(9) };
      await administration(fixture).addReservation(network, reserved, options);
      expect(await failure(take(host(1), { previous: [reserved.subnet] }))).toBeInstanceOf(OutOfSubnetsError);
    }),
  );
}
