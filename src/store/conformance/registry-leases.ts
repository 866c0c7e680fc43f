// Tests of every registry.
import { describe, expect, test } from "vitest";
import { parseAddress } from "../../ip/address.ts";
import { LeaseLostError, LeaseTakenError } from "../../lease/errors.ts";
import type { Lease } from "../../lease/lease.ts";
import {
  ATTRIBUTES,
  bySubnet,
  CONFIG,
  claim,
  failure,
  type MakeTest,
  NETWORK,
  OTHERS,
  subnet,
} from "./registry-bench.ts";
import type { RegistryFixture } from "./registry-harness.ts";

/** Registers the tests of a registry's leases. */
export function describeLeases<Fixture extends RegistryFixture>(name: string, bench: MakeTest<Fixture>): void {
  describe(`${name}: leases`, () => {
    test(
      "listLeases() is empty for a network that is not there",
      bench(async ({ registry, options }) => {
        for (const network of [NETWORK, "blue"]) {
          const listing = await registry.listLeases(network, options);
          expect(listing.leases).toEqual([]);
          expect(listing.cursor.history).not.toBe("");
        }
      }),
    );

    test(
      "createLease() makes a lease of 24 hours that every connection sees",
      bench(async ({ registry, options, second, expectTtl }) => {
        const created = await registry.createLease(NETWORK, claim(34), options);
        expect(created).toMatchObject({ subnet: subnet(34), attributes: ATTRIBUTES, isReservation: false });
        for (const each of [registry, await second()]) {
          const found = await each.getLease(NETWORK, subnet(34), options);
          expect(found).toMatchObject({ subnet: subnet(34), attributes: ATTRIBUTES, revision: created.revision });
          const listed = await each.listLeases(NETWORK, { ...options, withExpirations: true });
          expect(listed.leases).toHaveLength(1);
          expect(listed.leases[0]).toMatchObject({ attributes: ATTRIBUTES, isReservation: false });
          expect(listed.leases[0]?.revision).toBe(created.revision);
          expect(listed.cursor.index).toBeGreaterThanOrEqual(created.revision);
          for (const lease of [created, found, listed.leases[0]]) expectTtl(lease);
        }
      }),
    );

    test(
      "createLease() of a reservation makes one without an end",
      bench(async ({ registry, options }) => {
        const created = await registry.createLease(NETWORK, claim(34, ATTRIBUTES, true), options);
        const plain = await registry.listLeases(NETWORK, options);
        const detailed = await registry.listLeases(NETWORK, { ...options, withExpirations: true });
        const found = await registry.getLease(NETWORK, subnet(34), options);
        for (const lease of [created, plain.leases[0], detailed.leases[0], found]) {
          expect(lease?.isReservation).toBe(true);
          expect(lease?.expiresAt).toBeUndefined();
          expect(lease?.expiration).toBeUndefined();
        }
      }),
    );

    test(
      "listLeases() tells leases from reservations even without expirations",
      bench(async ({ registry, options }) => {
        await registry.createLease(NETWORK, claim(1), options);
        await registry.createLease(NETWORK, claim(2, OTHERS, true), options);
        const { leases } = await registry.listLeases(NETWORK, options);
        expect(bySubnet(leases).map((lease) => lease.isReservation)).toEqual([false, true]);
      }),
    );

    test(
      "createLease() keeps whatever JSON a backend writes",
      bench(async ({ registry, options }) => {
        const backendData = {
          text: 'é "quoted" \\ & + % = \n \u{1f9f6}',
          list: [1, -2.5, true, null, { deep: [] }],
          "": "",
        };
        for (const [index, data] of [backendData, "text", 0, false, []].entries()) {
          const attributes = { publicIP: ATTRIBUTES.publicIP, backendType: "extension", backendData: data };
          await registry.createLease(NETWORK, claim(index, attributes), options);
          expect((await registry.getLease(NETWORK, subnet(index), options))?.attributes).toEqual(attributes);
        }
      }),
    );

    test(
      "createLease() throws LeaseTakenError and leaves the holder alone",
      bench(async ({ registry, options, second }) => {
        const held = await registry.createLease(NETWORK, claim(34), options);
        for (const isReservation of [false, true]) {
          const error = await failure((await second()).createLease(NETWORK, claim(34, OTHERS, isReservation), options));
          expect(error).toBeInstanceOf(LeaseTakenError);
          expect((error as LeaseTakenError).subnet).toEqual(subnet(34));
        }
        const found = await registry.getLease(NETWORK, subnet(34), options);
        expect(found).toMatchObject({ attributes: ATTRIBUTES, revision: held.revision, isReservation: false });
      }),
    );

    test(
      "createLease() lets exactly one of two connections win",
      bench(async ({ registry, options, second }) => {
        const registries = [registry, await second()];
        for (let round = 1; round <= 10; round++) {
          const results = await Promise.allSettled(
            registries.map((each, index) =>
              each.createLease(NETWORK, claim(round, index === 0 ? ATTRIBUTES : OTHERS), options),
            ),
          );
          const won = results.filter((result) => result.status === "fulfilled");
          const lost = results.filter((result) => result.status === "rejected");
          expect(lost.map((result) => result.reason)).toEqual([expect.any(LeaseTakenError)]);
          const found = await registry.getLease(NETWORK, subnet(round), options);
          expect(found?.attributes).toEqual(won[0]?.value.attributes);
        }
      }),
    );

    test(
      "updateLease() renews the lease and changes what it says",
      bench(async ({ registry, options, expectTtl }) => {
        const created = await registry.createLease(NETWORK, claim(34), options);
        const updated = await registry.updateLease(
          NETWORK,
          created,
          { attributes: OTHERS, isReservation: false },
          options,
        );
        expect(updated).toMatchObject({ subnet: subnet(34), attributes: OTHERS, isReservation: false });
        expect(updated.revision).toBeGreaterThan(created.revision);
        const found = await registry.getLease(NETWORK, subnet(34), options);
        expect(found).toMatchObject({ attributes: OTHERS, revision: updated.revision });
        for (const lease of [updated, found]) expectTtl(lease);
        expect((await registry.listLeases(NETWORK, options)).leases).toHaveLength(1);
      }),
    );

    test(
      "updateLease() takes a lease from a plain listing",
      bench(async ({ registry, options, expectTtl }) => {
        await registry.createLease(NETWORK, claim(34), options);
        const [listed] = (await registry.listLeases(NETWORK, options)).leases;
        if (listed === undefined) throw new Error("nothing listed");
        const updated = await registry.updateLease(NETWORK, listed, { ...listed, attributes: OTHERS }, options);
        const again = await registry.updateLease(NETWORK, updated, updated, options);
        expect(again.revision).toBeGreaterThan(updated.revision);
        expectTtl(await registry.getLease(NETWORK, subnet(34), options));
      }),
    );

    test(
      "updateLease() makes a lease a reservation and a reservation a lease",
      bench(async ({ registry, options, expectTtl }) => {
        let lease = await registry.createLease(NETWORK, claim(34), options);
        for (const isReservation of [true, true, false, true, false]) {
          lease = await registry.updateLease(NETWORK, lease, { attributes: ATTRIBUTES, isReservation }, options);
          const found = await registry.getLease(NETWORK, subnet(34), options);
          for (const each of [lease, found]) {
            expect(each?.isReservation).toBe(isReservation);
            expect(each?.expiresAt === undefined).toBe(isReservation);
          }
        }
        expectTtl(await registry.getLease(NETWORK, subnet(34), options));
      }),
    );

    test(
      "updateLease() throws LeaseLostError if another wrote it, and changes nothing",
      bench(async ({ registry, options, second }) => {
        const created = await registry.createLease(NETWORK, claim(34), options);
        const theirs = await (await second()).updateLease(
          NETWORK,
          created,
          { ...created, attributes: OTHERS },
          options,
        );
        expect(await failure(registry.updateLease(NETWORK, created, created, options))).toBeInstanceOf(LeaseLostError);
        const found = await registry.getLease(NETWORK, subnet(34), options);
        expect(found).toMatchObject({ attributes: OTHERS, revision: theirs.revision });
      }),
    );

    test(
      "updateLease() throws LeaseLostError if the lease is gone, and does not bring it back",
      bench(async ({ registry, options }) => {
        const created = await registry.createLease(NETWORK, claim(34), options);
        await registry.deleteLease(NETWORK, created, options);
        expect(await failure(registry.updateLease(NETWORK, created, created, options))).toBeInstanceOf(LeaseLostError);
        expect(await registry.getLease(NETWORK, subnet(34), options)).toBeUndefined();
        await registry.createLease(NETWORK, claim(34, OTHERS), options);
        expect(await failure(registry.updateLease(NETWORK, created, created, options))).toBeInstanceOf(LeaseLostError);
      }),
    );

    test(
      "updateLease() lets exactly one of two connections win",
      bench(async ({ registry, options, second }) => {
        const registries = [registry, await second()];
        let lease = await registry.createLease(NETWORK, claim(34), options);
        for (let round = 0; round < 10; round++) {
          const results = await Promise.allSettled(
            registries.map((each) => each.updateLease(NETWORK, lease, lease, options)),
          );
          const lost = results.filter((result) => result.status === "rejected");
          expect(lost.map((result) => result.reason)).toEqual([expect.any(LeaseLostError)]);
          lease = (await registry.getLease(NETWORK, subnet(34), options)) ?? lease;
        }
      }),
    );

    test(
      "deleteLease() removes the lease, if it is still that one",
      bench(async ({ registry, options, second }) => {
        const created = await registry.createLease(NETWORK, claim(34), options);
        await registry.createLease(NETWORK, claim(35, OTHERS), options);
        const updated = await (await second()).updateLease(NETWORK, created, created, options);
        expect(await failure(registry.deleteLease(NETWORK, created, options))).toBeInstanceOf(LeaseLostError);
        expect(await registry.getLease(NETWORK, subnet(34), options)).toBeDefined();
        await registry.deleteLease(NETWORK, updated, options);
        expect(await registry.getLease(NETWORK, subnet(34), options)).toBeUndefined();
        expect(await failure(registry.deleteLease(NETWORK, updated, options))).toBeInstanceOf(LeaseLostError);
        expect((await registry.listLeases(NETWORK, options)).leases).toHaveLength(1);
      }),
    );

    test(
      "listLeases() lists one network only",
      bench(async ({ registry, options }) => {
        const networks = ["", "blue", "blue2"];
        for (const [index, network] of networks.entries()) {
          await registry.setConfig(network, CONFIG, options);
          await registry.createLease(network, claim(index + 1), options);
        }
        for (const [index, network] of networks.entries()) {
          const { leases } = await registry.listLeases(network, options);
          expect(leases.map((lease) => lease.subnet)).toEqual([subnet(index + 1)]);
          expect(await registry.getLease(network, subnet(9), options)).toBeUndefined();
        }
      }),
    );

    test(
      "listLeases() lists hundreds of leases, each with its own revision",
      bench(async ({ registry, options }) => {
        const attributes = (number: number) => ({
          publicIP: parseAddress(`192.0.2.${number % 250}`),
          backendType: "host-gw",
        });
        const created: Lease[] = [];
        for (let number = 0; number < 200; number += 20)
          created.push(
            ...(await Promise.all(
              Array.from({ length: 20 }, (_, index) =>
                registry.createLease(NETWORK, claim(number + index, attributes(number + index)), options),
              ),
            )),
          );
        const { leases, cursor } = await registry.listLeases(NETWORK, options);
        const essence = (each: readonly Lease[]) =>
          bySubnet(each).map((lease) => ({
            subnet: lease.subnet,
            attributes: lease.attributes,
            revision: lease.revision,
          }));
        expect(essence(leases)).toEqual(essence(created));
        expect(new Set(leases.map((lease) => lease.revision)).size).toBe(200);
        for (const lease of leases) expect(lease.revision <= cursor.index).toBe(true);
      }),
    );
  });
}
