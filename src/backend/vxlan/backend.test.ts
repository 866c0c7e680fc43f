import * as fc from "fast-check";
import { expect, test } from "vitest";
import { parseAddress } from "../../ip/address.ts";
import { parseMacAddress } from "../../ip/mac-address.ts";
import { parsePrefix } from "../../ip/prefix.ts";
import { FakeKernel } from "../../kernel/fake-kernel.ts";
import type { LinkRow } from "../../kernel/kernel.ts";
import type { Json, Lease } from "../../lease/lease.ts";
import { vxlanOverlay } from "./backend.ts";

const NETWORK = parsePrefix("10.5.0.0/16");
const device: LinkRow = {
  kind: "vxlan",
  name: "flannel.1",
  mac: parseMacAddress("66:72:44:0d:7e:01"),
  mtu: 1450,
  vni: 1,
  local: parseAddress("192.0.2.1"),
  lower: "eth0",
  port: 0,
  gbp: false,
  learning: false,
};

function lease(number: number, backendData: Json | undefined, host = number): Lease {
  return {
    subnet: parsePrefix(`10.5.${number}.0/24`),
    attributes: {
      publicIP: parseAddress(`192.0.2.${host}`),
      backendType: "vxlan",
      ...(backendData !== undefined && { backendData }),
    },
    isReservation: false,
    revision: 1n,
  };
}

function overlay() {
  const kernel = new FakeKernel();
  const link = device.name;
  return vxlanOverlay(lease(1, undefined), NETWORK, device, {
    links: kernel.linkTable({ owned: [link] }),
    sysctls: kernel.sysctlTable({ keys: [] }),
    addresses: kernel.addressTable({ link }),
    neighbors: kernel.neighborTable({ link, networks: [NETWORK] }),
    fdb: kernel.fdbTable({ link }),
    routes: kernel.routeTable({ networks: [NETWORK], adoptable: () => false }),
  });
}

const mac = fc.nat(5).map((number) => `66:72:44:0d:7e:0${number}`);
const data: fc.Arbitrary<Json | undefined> = fc.oneof(
  { weight: 5, arbitrary: mac.map((VtepMAC) => ({ VtepMAC })) },
  { weight: 1, arbitrary: fc.jsonValue() as fc.Arbitrary<Json> },
  fc.constant(undefined),
);
const peers = fc.uniqueArray(
  fc.record({ number: fc.integer({ min: 2, max: 20 }), data, host: fc.integer({ min: 2, max: 5 }) }),
  { selector: ({ number }) => number },
);

test("vxlanOverlay().desired() gives the very same rows for the same leases, whatever else is asked in between", () => {
  fc.assert(
    fc.property(peers, peers, (some, others) => {
      const backend = overlay();
      const leases = some.map(({ number, data, host }) => lease(number, data, host));
      const first = backend.desired(leases);
      backend.desired(others.map(({ number, data, host }) => lease(number, data, host)));
      const second = backend.desired(leases);
      expect(second.unreachable).toEqual(first.unreachable);
      for (const [index, { table, rows }] of first.layers.entries()) {
        expect(second.layers[index]?.table).toBe(table);
        expect(second.layers[index]?.rows.every((row, at) => row === rows[at])).toBe(true);
        expect(second.layers[index]?.rows.length).toBe(rows.length);
      }
    }),
  );
});

test("vxlanOverlay().desired() takes or names every peer, and leads a MAC to one host only", () => {
  fc.assert(
    fc.property(peers, (some) => {
      const leases = some.map(({ number, data, host }) => lease(number, data, host));
      const { layers, unreachable } = overlay().desired(leases);
      const [fdb = [], neighbors = [], routes = []] = layers.slice(3).map(({ rows }) => rows);
      expect(routes.length - 1 + unreachable.length).toBe(leases.length);
      expect([fdb.length, neighbors.length]).toEqual([routes.length - 1, routes.length - 1]);
      const ways = new Map<string, Set<bigint>>();
      for (const row of fdb as readonly { mac: string; destination: { value: bigint } }[])
        ways.set(row.mac, (ways.get(row.mac) ?? new Set()).add(row.destination.value));
      expect([...ways.values()].every((hosts) => hosts.size === 1)).toBe(true);
      expect(ways.has(device.mac)).toBe(false);
    }),
  );
});
