import { describeTable, type TableFixture } from "../../src/dataplane/table-conformance.ts";
import { parseAddress } from "../../src/ip/address.ts";
import { type MacAddress, parseMacAddress } from "../../src/ip/mac-address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { FakeKernel } from "../../src/kernel/fake-kernel.ts";

const LINK = "flannel.1";
const mac = (number: number): MacAddress => parseMacAddress(`66:72:44:0d:7e:0${number}`);
const host = (number: number) => parseAddress(`192.0.2.${number}`);
const NETWORKS = [parsePrefix("10.5.0.0/16")];

function kernel(): FakeKernel {
  const kernel = new FakeKernel();
  for (const name of ["eth0", LINK]) kernel.setLink({ name });
  return kernel;
}

function fixture<Row>(parts: Omit<TableFixture<Row>, "notified" | typeof Symbol.asyncDispose>): TableFixture<Row> {
  return { ...parts, notified: async () => {}, async [Symbol.asyncDispose]() {} };
}

describeTable("FakeKernel.routeTable()", async () => {
  const fake = kernel();
  const route = (number: number, gateway: number) => ({
    destination: parsePrefix(`10.5.${number}.0/24`),
    link: "eth0",
    gateway: host(gateway),
    onlink: false,
  });
  const foreign = { ...route(9, 9), protocol: 4 };
  return fixture({
    table: fake.routeTable({ networks: NETWORKS, adoptable: () => false }),
    rows: [route(1, 1), route(2, 2), route(3, 2)],
    changed: route(1, 7),
    foreign: {
      put: async () => fake.setRoute(foreign),
      isThere: async () => fake.show().some((line) => line.includes("10.5.9.0/24")),
    },
    removeByHand: async ({ destination }) => fake.deleteRoute(destination),
  });
});

describeTable("FakeKernel.neighborTable()", async () => {
  const fake = kernel();
  const row = (number: number, owner = number) => ({
    link: LINK,
    destination: parseAddress(`10.5.${number}.0`),
    mac: mac(owner),
  });
  return fixture({
    table: fake.neighborTable({ link: LINK, networks: NETWORKS }),
    rows: [row(1), row(2), row(3)],
    changed: row(1, 7),
    foreign: {
      put: async () => fake.setNeighbor({ ...row(1), destination: parseAddress("10.6.1.0") }),
      isThere: async () => fake.show().some((line) => line.includes("10.6.1.0")),
    },
    removeByHand: async (gone) => fake.deleteNeighbor(gone),
  });
});

describeTable("FakeKernel.fdbTable()", async () => {
  const fake = kernel();
  const row = (number: number, owner = number) => ({ link: LINK, mac: mac(number), destination: host(owner) });
  return fixture({
    table: fake.fdbTable({ link: LINK }),
    rows: [row(1), row(2), row(3)],
    changed: row(1, 7),
    removeByHand: async (gone) => fake.deleteFdb(gone),
  });
});

describeTable("FakeKernel.addressTable()", async () => {
  const fake = kernel();
  const row = (number: number) => ({ link: LINK, address: parsePrefix(`10.5.${number}.0/32`) });
  return fixture({
    table: fake.addressTable({ link: LINK }),
    rows: [row(1), row(2), row(3)],
    foreign: {
      put: async () => fake.setAddress("eth0", parsePrefix("192.0.2.1/24")),
      isThere: async () => fake.show().some((line) => line.includes("192.0.2.1/24")),
    },
    removeByHand: async ({ address }) => fake.deleteAddress(LINK, address),
  });
});
