import { expect, test } from "vitest";
import { FakeCloud, memoryNotes } from "../../cloud/fake-cloud.ts";
import { parseAddress } from "../../ip/address.ts";
import { type MacAddress, parseMacAddress } from "../../ip/mac-address.ts";
import { parsePrefix } from "../../ip/prefix.ts";
import { FakeDescriptorKeeper } from "../../kernel/fake-descriptor-keeper.ts";
import { FakeKernel } from "../../kernel/fake-kernel.ts";
import type { Json, Lease } from "../../lease/lease.ts";
import { parseNetworkConfig } from "../../lease/network-config.ts";
import { silentLogger } from "../../lib/logger.ts";
import { vxlan } from "./type.ts";

const [STORED, PRESENT, REMEMBERED] = ["01", "02", "03"].map((last) => parseMacAddress(`66:72:44:0d:7e:${last}`)) as [
  MacAddress,
  MacAddress,
  MacAddress,
];
const { signal } = new AbortController();

const existing = (backendType: string | undefined, backendData: Json): Lease => ({
  subnet: parsePrefix("10.5.1.0/24"),
  attributes: {
    publicIP: parseAddress("192.0.2.1"),
    ...(backendType !== undefined && { backendType }),
    backendData,
  },
  isReservation: false,
  revision: 1n,
});

/** What our lease says the MAC is, given what there is. */
async function chosenMac(given: { kernel?: FakeKernel; remembered?: MacAddress; lease?: Lease }): Promise<unknown> {
  const kernel = given.kernel ?? new FakeKernel();
  kernel.setLink({ name: "eth0" });
  const external = (await kernel.listLinks({ signal })).find(({ name }) => name === "eth0");
  if (external === undefined) throw new Error("no eth0");
  const config = parseNetworkConfig('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
  const address = parseAddress("192.0.2.1");
  const prepared = await vxlan.prepare(
    {
      options: vxlan.parseOptions(config.backend.options),
      config,
      external: { link: external, address, publicIP: address },
      leaseFormat: "0.7",
      kernel,
      keeper: new FakeDescriptorKeeper(),
      routes: { networks: [config.network], adoptable: () => false },
      logger: silentLogger,
      rememberedMac: given.remembered,
      notes: memoryNotes(),
      cloud: new FakeCloud(),
    },
    { signal },
  );
  const { backendData } = prepared.attributes(given.lease);
  const again = prepared.attributes(given.lease).backendData;
  expect(again).toEqual(backendData);
  return (backendData as { VtepMAC: unknown }).VtepMAC;
}

function withDevice(kind = "vxlan"): FakeKernel {
  const kernel = new FakeKernel();
  kernel.setLink({ name: "flannel.1", kind, mac: PRESENT });
  return kernel;
}

test("vxlan keeps the MAC of our own lease, which peers know, before all others", async () => {
  const lease = existing("vxlan", { VtepMAC: STORED });
  expect(await chosenMac({ kernel: withDevice(), remembered: REMEMBERED, lease })).toBe(STORED);
});

test("vxlan keeps the MAC of the device that is there, else the remembered one", async () => {
  expect(await chosenMac({ kernel: withDevice(), remembered: REMEMBERED })).toBe(PRESENT);
  expect(await chosenMac({ kernel: withDevice("bridge"), remembered: REMEMBERED })).toBe(REMEMBERED);
  expect(await chosenMac({ remembered: REMEMBERED })).toBe(REMEMBERED);
});

test("vxlan makes a random local MAC where there is none, and stays with it", async () => {
  const macs = await Promise.all([chosenMac({}), chosenMac({}), chosenMac({})]);
  expect(new Set(macs).size).toBe(3);
  for (const mac of macs) expect(mac).toMatch(/^[0-9a-f][26ae]:/);
});

test.each([
  ["another backend's", existing("host-gw", { VtepMAC: STORED })],
  ["an administrator's, without backend", existing(undefined, { VtepMAC: STORED })],
  ["one without a MAC", existing("vxlan", {})],
  ["one with nonsense", existing("vxlan", "nonsense")],
  ["one with a group address", existing("vxlan", { VtepMAC: "01:00:5e:00:00:01" })],
])("vxlan takes no MAC from our lease if that is %s", async (_, lease) => {
  expect(await chosenMac({ remembered: REMEMBERED, lease })).toBe(REMEMBERED);
});
