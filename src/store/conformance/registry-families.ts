// Tests of every registry.
import { describe, expect, test } from "vitest";
import { parseAddress } from "../../ip/address.ts";
import { parsePrefix } from "../../ip/prefix.ts";
import { LeaseLostError, LeaseTakenError } from "../../lease/errors.ts";
import { ATTRIBUTES, claim, eventsOf, failure, type MakeTest, NETWORK, OTHERS, subnet } from "./registry-bench.ts";
import type { RegistryFixture } from "./registry-harness.ts";

const IPV6_SUBNET = parsePrefix("fd00:5:0:1::/64");
const DUAL = { ...ATTRIBUTES, publicIPv6: parseAddress("2001:db8::1"), backendV6Data: { VNI: 1 } };

/** Registers the tests of leases with an IPv6 subnet, or of that alone. */
export function describeFamilies<Fixture extends RegistryFixture>(name: string, bench: MakeTest<Fixture>): void {
  describe(`${name}: leases of both families`, () => {
    test(
      "createLease() makes a lease of both families, which getLease() finds by the first and the next one finds taken",
      bench(async ({ registry, options, second }) => {
        const made = await registry.createLease(NETWORK, { ...claim(1, DUAL), ipv6Subnet: IPV6_SUBNET }, options);
        const found = await registry.getLease(NETWORK, subnet(1), options);
        expect(found).toMatchObject({ subnet: subnet(1), ipv6Subnet: IPV6_SUBNET, attributes: DUAL });
        expect(found?.revision).toBe(made.revision);
        expect(found?.attributes).toEqual(made.attributes);
        if (registry.name.startsWith("etcd v2")) return; // it cannot tell that the keys mean the same
        const error = await failure((await second()).createLease(NETWORK, claim(1, OTHERS), options));
        expect(error).toBeInstanceOf(LeaseTakenError);
      }),
    );

    test(
      "createLease() makes a lease of IPv6 alone, which is updated and deleted like any other",
      bench(async ({ registry, options }) => {
        const attributes = { publicIP: parseAddress("2001:db8::1"), backendType: "vxlan", backendData: { VNI: 1 } };
        const only = { subnet: IPV6_SUBNET, attributes, isReservation: false };
        const made = await registry.createLease(NETWORK, only, options);
        const updated = await registry.updateLease(NETWORK, made, made, options);
        const found = await registry.getLease(NETWORK, IPV6_SUBNET, options);
        expect(found).toMatchObject({ subnet: IPV6_SUBNET, attributes, revision: updated.revision });
        expect(found).not.toHaveProperty("ipv6Subnet");
        await registry.deleteLease(NETWORK, updated, options);
        expect((await registry.listLeases(NETWORK, options)).leases).toEqual([]);
      }),
    );

    test(
      "updateLease() gives a lease an IPv6 subnet, another one and none: it is never two, and gone only before it is there again",
      bench(async ({ registry, options, now, follow }) => {
        const since = await now();
        let lease = await registry.createLease(NETWORK, claim(1), options);
        const another = parsePrefix("fd00:5:0:2::/64");
        for (const ipv6Subnet of [IPV6_SUBNET, another, undefined]) {
          const subnets = { subnet: subnet(1), ...(ipv6Subnet !== undefined && { ipv6Subnet }) };
          lease = await registry.updateLease(NETWORK, lease, { ...lease, subnets }, options);
          expect(lease.ipv6Subnet).toEqual(ipv6Subnet);
          const { leases } = await registry.listLeases(NETWORK, options);
          expect(leases.map((each) => [each.ipv6Subnet, each.revision])).toEqual([[ipv6Subnet, lease.revision]]);
        }
        const events = eventsOf(await follow(registry, since).until((all) => eventsOf(all).length >= 7));
        const told = events.map((event) => (event.type === "added" ? event.lease.ipv6Subnet : event.type));
        expect(told).toEqual([undefined, "removed", IPV6_SUBNET, "removed", another, "removed", undefined]);
      }),
    );

    test(
      "updateLease() with another IPv6 subnet throws LeaseLostError if the lease was changed meanwhile",
      bench(async ({ registry, options }) => {
        const lease = await registry.createLease(NETWORK, claim(1), options);
        const newer = await registry.updateLease(NETWORK, lease, lease, options);
        const change = { ...lease, subnets: { subnet: subnet(1), ipv6Subnet: IPV6_SUBNET } };
        const error = await failure(registry.updateLease(NETWORK, lease, change, options));
        expect(error).toBeInstanceOf(LeaseLostError);
        const { leases } = await registry.listLeases(NETWORK, options);
        expect(leases.map(({ revision }) => revision)).toEqual([newer.revision]);
      }),
    );
  });
}
