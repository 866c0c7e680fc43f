import fc from "fast-check";
import { expect, test } from "vitest";
import { plan } from "../../dataplane/plan.ts";
import { formatAddress, parseAddress } from "../../ip/address.ts";
import { formatPrefix, parsePrefix } from "../../ip/prefix.ts";
import type { Peer } from "./forwarding.ts";
import { type PeerRow, PeerTable } from "./peer-table.ts";

const row = (subnet: number, host: number): PeerRow => ({
  subnet: parsePrefix(`10.5.${subnet}.0/24`),
  publicIP: parseAddress(`192.0.2.${host}`),
});
const text = ({ subnet, publicIP, slot }: Peer) => `${formatPrefix(subnet)} ${formatAddress(publicIP)} ${slot}`;

function peerTable() {
  const told: string[][] = [];
  const table = new PeerTable((peers) => told.push(peers.map(text)));
  const apply = (puts: readonly PeerRow[], removals: readonly PeerRow[] = []) => table.apply({ puts, removals });
  return { table, told, apply };
}

test("PeerTable gives each host a slot, the same for all of its subnets", async () => {
  const { table, told, apply } = peerTable();
  expect(await apply([row(2, 2), row(3, 3), row(4, 2)])).toEqual([]);
  expect(told).toEqual([["10.5.2.0/24 192.0.2.2 0", "10.5.3.0/24 192.0.2.3 1", "10.5.4.0/24 192.0.2.2 0"]]);
  expect(await table.list()).toEqual([row(2, 2), row(3, 3), row(4, 2)]);
  expect(table.addresses.map((address) => address && formatAddress(address))).toEqual(["192.0.2.2", "192.0.2.3"]);
});

test("PeerTable keeps a host's slot while it has any subnet, and gives it to another one then", async () => {
  const { table, told, apply } = peerTable();
  await apply([row(2, 2), row(3, 3)]);
  await apply([row(4, 3)], [row(3, 3)]);
  expect(told.at(-1)).toEqual(["10.5.2.0/24 192.0.2.2 0", "10.5.4.0/24 192.0.2.3 1"]);
  await apply([], [row(2, 2)]);
  expect(table.addresses).toEqual([undefined, parseAddress("192.0.2.3")]);
  await apply([row(5, 5), row(6, 6)]);
  expect(told.at(-1)).toEqual(["10.5.4.0/24 192.0.2.3 1", "10.5.5.0/24 192.0.2.5 0", "10.5.6.0/24 192.0.2.6 2"]);
});

test("PeerTable takes a changed public IP as a change, and removes what is gone already", async () => {
  const { table, told, apply } = peerTable();
  expect(table.equal(row(2, 2), row(2, 2))).toBe(true);
  expect(table.equal(row(2, 2), row(2, 3))).toBe(false);
  expect(table.key(row(2, 2))).toBe(table.key(row(2, 3)));
  expect(table.format(row(2, 2))).toBe("10.5.2.0/24 via udp 192.0.2.2");
  await apply([row(2, 2)]);
  await apply([row(2, 3)]);
  expect(told.at(-1)).toEqual(["10.5.2.0/24 192.0.2.3 0"]);
  expect(await apply([], [row(2, 3), row(9, 9)])).toEqual([]);
  expect(told.at(-1)).toEqual([]);
});

test("PeerTable is equal to what was planned for it, with small slots that do not change", () => {
  const hosts = fc.uniqueArray(fc.record({ subnet: fc.nat(12), host: fc.integer({ min: 1, max: 6 }) }), {
    selector: ({ subnet }) => subnet,
  });
  return fc.assert(
    fc.asyncProperty(fc.array(hosts, { maxLength: 8 }), async (states) => {
      let told: readonly Peer[] = [];
      const slots = new Map<string, number>();
      const table = new PeerTable((peers) => (told = peers));
      for (const state of states) {
        const wanted = state.map(({ subnet, host }) => row(subnet, host));
        await table.apply(plan(table, wanted, await table.list()));
        const names = told.map(({ publicIP }) => formatAddress(publicIP));
        expect(told.map((peer) => table.format(peer)).toSorted()).toEqual(
          wanted.map((row) => table.format(row)).toSorted(),
        );
        for (const name of slots.keys()) if (!names.includes(name)) slots.delete(name);
        for (const { publicIP, slot } of told) {
          const name = formatAddress(publicIP);
          expect(slots.get(name) ?? slot).toBe(slot);
          slots.set(name, slot);
          expect(slot).toBeLessThan(6);
          expect(table.addresses[slot]).toEqual(publicIP);
        }
        expect(new Set(slots.values()).size).toBe(slots.size);
      }
    }),
  );
});
