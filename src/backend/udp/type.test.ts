import { expect, test } from "vitest";
import { FakeCloud, memoryNotes } from "../../cloud/fake-cloud.ts";
import type { Layer } from "../../dataplane/table.ts";
import { formatAddress, parseAddress } from "../../ip/address.ts";
import { parsePrefix } from "../../ip/prefix.ts";
import { FakeDescriptorKeeper } from "../../kernel/fake-descriptor-keeper.ts";
import { FakeKernel } from "../../kernel/fake-kernel.ts";
import type { Lease } from "../../lease/lease.ts";
import { parseNetworkConfig } from "../../lease/network-config.ts";
import { FakeClock } from "../../lib/fake-clock.ts";
import { silentLogger } from "../../lib/logger.ts";
import { FakePacketThread } from "./fake-packet-thread.ts";
import type { PacketThreadOptions } from "./thread.ts";
import { udpBackend } from "./type.ts";

const { signal } = new AbortController();
const LEASE: Lease = {
  subnet: parsePrefix("10.5.1.0/24"),
  attributes: { publicIP: parseAddress("192.0.2.1") },
  isReservation: false,
  revision: 1n,
};

interface Given {
  readonly kernel?: FakeKernel;
  readonly keeper?: FakeDescriptorKeeper;
  readonly backend?: Readonly<Record<string, unknown>>;
  readonly address?: string;
  readonly publicIP?: string;
  /** Another's, to share what it knows of this host. */
  readonly type?: ReturnType<typeof udpBackend>;
}

function hostKernel(): FakeKernel {
  const kernel = new FakeKernel();
  kernel.setLink({ name: "eth0", mtu: 1500 });
  kernel.setAddress("eth0", parsePrefix("192.0.2.1/24"));
  return kernel;
}

async function prepare(given: Given = {}) {
  const { kernel = hostKernel(), keeper = new FakeDescriptorKeeper(), address = "192.0.2.1" } = given;
  const threads: FakePacketThread[] = [];
  const startThread = (options: PacketThreadOptions) => {
    const thread = new FakePacketThread(options);
    threads.push(thread);
    return thread;
  };
  const type = given.type ?? udpBackend(startThread, new FakeClock());
  const link = (await kernel.listLinks({ signal })).find(({ name }) => name === "eth0");
  if (link === undefined) throw new Error("no eth0");
  const config = parseNetworkConfig(
    JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type: "udp", ...given.backend } }),
  );
  const prepared = await type.prepare(
    {
      options: type.parseOptions(config.backend.options),
      config,
      external: { link, address: parseAddress(address), publicIP: parseAddress(given.publicIP ?? address) },
      leaseFormat: "0.7",
      kernel,
      keeper,
      routes: { networks: [config.network], adoptable: () => false },
      logger: silentLogger,
      rememberedMac: undefined,
      notes: memoryNotes(),
      cloud: new FakeCloud(),
    },
    { signal },
  );
  return { prepared, threads, kernel, keeper, type };
}

/** Opens the backend and puts its own rows in place, foundations first. */
async function open(given: Given = {}) {
  const { prepared, threads, ...rest } = await prepare(given);
  const backend = prepared.open(LEASE);
  const apply = ({ table, rows }: Layer) => table.apply({ puts: rows, removals: [] }, { signal });
  const failures = [];
  for (const layer of backend.desired([]).layers) failures.push(...(await apply(layer)));
  void backend.run?.({ signal });
  const [thread] = threads;
  if (thread === undefined) throw new Error("no thread was started");
  return { backend, thread, failures: failures.map(({ error }) => error.message), ...rest };
}

test("udp says where it is reached, and nothing else", async () => {
  const { prepared } = await prepare({ publicIP: "198.51.100.7" });
  expect(prepared.attributes(undefined)).toEqual({ publicIP: parseAddress("198.51.100.7") });
});

test("udp makes a device that leaves room for the outer headers, named as 0.7.0 named it", async () => {
  const { backend, thread, failures, kernel } = await open();
  expect(failures).toEqual([]);
  expect([backend.mtu, backend.links]).toEqual([1472, ["flannel0"]]);
  expect(kernel.show()).toContain("address 10.5.1.0/16 dev flannel0");
  expect(thread.options.port).toBe(8285);
  expect(thread.options.addresses.map(formatAddress)).toEqual(["10.5.1.0"]);
  expect(thread.orders.slice(1).map((order) => order.replace(/socket \d+/, "socket"))).toEqual([
    "socket",
    "tun flannel0",
  ]);
});

test("udp takes the first name that is free", async () => {
  const kernel = hostKernel();
  for (const name of ["flannel0", "flannel1", "flannel3", "flannel.2"]) kernel.setLink({ name });
  expect((await open({ kernel })).backend.links).toEqual(["flannel2"]);
});

test("udp gives networks that start at the same time devices of their own, and a name that is given back to the next", async () => {
  const { type, kernel, prepared } = await prepare();
  const another = async () => (await prepare({ type, kernel })).prepared.open(LEASE).links;
  expect(await another()).toEqual(["flannel1"]);
  const first = prepared.open(LEASE);
  expect(first.links).toEqual(["flannel0"]);
  await first[Symbol.asyncDispose]();
  expect(await another()).toEqual(["flannel0"]);
});

test("udp lets go what it took over, and its name, if it is never opened", async () => {
  const { kernel, keeper } = await left({ name: "flannel0" });
  const { prepared, type } = await prepare({ kernel, keeper });
  prepared.abandon?.();
  expect([...kernel.descriptors.keys()]).toEqual([]);
  expect((await prepare({ type, kernel })).prepared.open(LEASE).links).toEqual(["flannel0"]);
});

test("udp binds to the address that packets leave from, on the port that was asked for", async () => {
  const { kernel, failures } = await open({ publicIP: "198.51.100.7", backend: { Port: 9000 } });
  expect(failures).toEqual([]);
  const rows = [...kernel.descriptors.values()].filter((what) => "port" in what);
  expect(rows).toEqual([{ address: parseAddress("192.0.2.1"), port: 9000 }]);
});

test.each([{ address: "2001:db8::1" }, { address: "192.0.2.1", publicIP: "2001:db8::1" }])(
  "udp refuses a host whose address is %o",
  async (given) => {
    await expect(prepare(given)).rejects.toThrow("Backend.Type: udp needs IPv4 between hosts, not 2001:db8::1");
  },
);

/** A host whose earlier daemon left these descriptors: the device and the socket. */
async function left({ name = "flannel4", hasHeader = true, port = 8285 } = {}) {
  const kernel = hostKernel();
  const keeper = new FakeDescriptorKeeper();
  kernel.setLink({ name, kind: "tun", mtu: 1472 });
  kernel.descriptors.set(7, { name, hasHeader });
  kernel.descriptors.set(8, { address: parseAddress("192.0.2.1"), port });

  await keeper.keep(
    new Map([
      ["udp-tun", 7],
      ["udp-socket", 8],
    ]),
  );
  return { kernel, keeper };
}

test("udp goes on with the device and the socket that an earlier daemon left", async () => {
  const { backend, thread, failures, kernel } = await open(await left());
  expect(failures).toEqual([]);
  expect(backend.links).toEqual(["flannel4"]);
  expect(thread.orders.slice(1)).toEqual(["socket 8", "tun flannel4"]);
  expect(new Set(kernel.descriptors.keys())).toEqual(new Set([7, 8]));
});

test.each([
  ["holds it otherwise", { hasHeader: false }],
  ["is not ours", { name: "tun0" }],
])("udp closes the descriptor of a device that %s, makes it anew, and goes on with the socket", async (_, what) => {
  const { backend, thread, failures, kernel, keeper } = await open(await left(what));
  expect(failures).toEqual([]);
  expect(backend.links).toEqual(["flannel0"]);
  expect(thread.orders.slice(1)).toEqual(["socket 8", "tun flannel0"]);
  expect([...kernel.descriptors.keys()]).not.toContain(7);
  expect([...keeper.kept]).toEqual([["udp-socket", 8]]);
});

test("udp closes a socket that is bound elsewhere, and goes on with the device", async () => {
  const { backend, thread, failures, kernel, keeper } = await open(await left({ port: 9999 }));
  expect(failures).toEqual([]);
  expect(backend.links).toEqual(["flannel4"]);
  expect(thread.orders[1]).toMatch(/^socket (?!8$)/);
  expect([...kernel.descriptors.keys()]).not.toContain(8);
  expect([...keeper.kept]).toEqual([["udp-tun", 7]]);
});

test("udp goes on with a socket that was left without its device", async () => {
  const given = await left();
  await given.keeper.keep(new Map([["udp-socket", 8]]));
  const { backend, thread, failures } = await open(given);
  expect(failures).toEqual([]);
  expect(thread.orders.slice(1)).toEqual(["socket 8", "tun flannel0"]);
  expect(backend.links).toEqual(["flannel0"]);
});

test("udp holds its device without offloads if Offload is false, also one that was left so", async () => {
  const given = await left({ hasHeader: false });
  const { backend, thread } = await open({ ...given, backend: { Offload: false } });
  expect(backend.links).toEqual(["flannel4"]);
  expect(thread.orders.slice(1)).toEqual(["socket 8", "tun flannel4"]);
});
