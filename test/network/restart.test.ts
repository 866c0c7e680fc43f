// What a network finds of its former life on this host.
import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { describe, expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { Fleet, HOST_GW, type Host, macOf, VXLAN, vxlanWith } from "./fleet.ts";

describe("runNetwork() when started again", () => {
  test.each([
    ["vxlan", VXLAN],
    ["host-gw", HOST_GW],
  ])("touches nothing in the kernel that is as it should be (%s)", async (type, config) => {
    await using fleet = new Fleet(config);
    fleet.writeLease(9, { type });
    const host = await fleet.running(1);
    await fleet.until(() => host.leadsTo(9), "it knows the peer");
    const subnet = await host.published();
    for (let time = 0; time < 3; time++) {
      await host.stop();
      host.done();
      host.start();
      await fleet.until(() => host.ready > 0, "it is ready");
      await fleet.passes(5_000);
      expect(host.done()).toEqual([]);
    }
    expect(await host.published()).toBe(subnet);
    expect(host.complaints()).toEqual([]);
  });

  test("has the same subnet and MAC after a reboot, also if its lease has expired meanwhile", async () => {
    await using fleet = new Fleet();
    const host = await fleet.running(1);
    const [subnet, links] = [await host.published(), host.rows("link")];
    await host.stop();
    host.kernel.deleteLink("flannel.1");
    fleet.store.remove("", host.key() ?? "");
    host.start();
    await fleet.until(() => host.ready > 0, "it is ready");
    expect(await host.published()).toBe(subnet);
    expect(host.rows("link")).toEqual(links);
  });

  test("takes over a host of flannel 0.7.0 with its subnet, device and MAC, and what it left of former peers", async () => {
    await using fleet = new Fleet();
    fleet.writeLease(9);
    const host = await fleet.host(1);
    const vxlan = { vni: 1, local: parseAddress("192.0.2.1"), lower: "eth0", port: 8472, gbp: false, learning: false };
    host.kernel.setLink({ name: "flannel.1", kind: "vxlan", mac: macOf(71), mtu: 1450, vxlan, lower: "eth0" });
    host.kernel.setAddress("flannel.1", parsePrefix("10.5.38.0/32"));
    host.kernel.setRoute({ destination: parsePrefix("10.5.0.0/16"), link: "flannel.1", scope: "global" });
    for (const number of [8, 9])
      host.kernel.setFdb({ link: "flannel.1", mac: macOf(number), destination: parseAddress(`192.0.2.${number}`) });
    await mkdir(dirname(host.subnetFile), { recursive: true });
    await writeFile(
      host.subnetFile,
      "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.38.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
    );
    host.start();
    await fleet.until(() => host.rows("neighbor").length > 0 && !host.leadsTo(8), "it is as it should be");
    expect(await host.published()).toBe("10.5.38.0/24");
    expect(host.done()).toEqual([
      `add neighbor 10.5.9.0 lladdr ${macOf(9)} dev flannel.1`,
      "add route 10.5.9.0/24 via 10.5.9.0 dev flannel.1 onlink",
      `remove fdb ${macOf(8)} dst 192.0.2.8 dev flannel.1`,
    ]);
  });

  test("puts a new backend in place before the former device goes, and back", async () => {
    await using fleet = new Fleet();
    fleet.writeLease(9);
    fleet.writeLease(8, { type: "host-gw" });
    const host = await fleet.running(1);
    await fleet.until(() => host.leadsTo(9), "it knows the peer");
    const subnet = await host.published();
    await restartWith(fleet, host, HOST_GW);
    fleet.writeLease(9, { type: "host-gw" });
    await fleet.until(() => host.rows("link").length === 0, "the device is gone", { step: 100 });
    expect(await host.published()).toBe(subnet);
    expect(host.rows("route").toSorted()).toEqual([
      "10.5.8.0/24 via 192.0.2.8 dev eth0 proto 241",
      "10.5.9.0/24 via 192.0.2.9 dev eth0 proto 241",
    ]);
    const done = host.done();
    expect(done.findIndex((line) => line.startsWith("remove link"))).toBeGreaterThan(
      done.indexOf("add route 10.5.8.0/24 via 192.0.2.8 dev eth0"),
    );
    await restartWith(fleet, host, VXLAN);
    fleet.writeLease(9);
    await fleet.until(() => host.rows("fdb").length === 1, "it knows the peer");
    await fleet.passes(2_000);
    expect(host.rows("route").toSorted()).toEqual([
      "10.5.0.0/16 dev flannel.1 proto 241",
      "10.5.9.0/24 via 10.5.9.0 dev flannel.1 proto 241",
    ]);
  });

  test("makes the device of another VNI before the former goes", async () => {
    await using fleet = new Fleet();
    const host = await fleet.running(1);
    await restartWith(fleet, host, vxlanWith({ VNI: 7, Port: 4789 }));
    await fleet.until(() => host.rows("link").length === 1, "the former device is gone", { step: 100 });
    const done = host.done();
    expect(done.findIndex((line) => line.startsWith("remove link flannel.1 "))).toBeGreaterThan(
      done.findIndex((line) => line.startsWith("add link flannel.7 ")),
    );
    expect(host.rows("route")).toEqual(["10.5.0.0/16 dev flannel.7 proto 241"]);
  });

  test("removes also a device that it was killed over before it was ready", async () => {
    await using fleet = new Fleet();
    const host = await fleet.host(1);
    host.kernel.refuse = (request) => (request.startsWith("add address") ? "not now" : undefined);
    host.start();
    await fleet.until(() => host.rows("link").length === 1, "the device is there");
    host.kernel.refuse = () => undefined;
    await restartWith(fleet, host, vxlanWith({ VNI: 7 }));
    await fleet.until(() => host.rows("link").length === 1, "the former device is gone", { step: 100 });
    expect(host.rows("route")).toEqual(["10.5.0.0/16 dev flannel.7 proto 241"]);
  });

  test("leaves the former Network's rows nowhere, and tells that containers must be restarted", async () => {
    await using fleet = new Fleet();
    fleet.writeLease(9);
    const host = await fleet.running(1);
    await fleet.until(() => host.leadsTo(9), "it knows the peer");
    await host.stop();
    host.complaints();
    fleet.store.setConfig("", '{"Network":"10.77.0.0/16","Backend":{"Type":"host-gw"}}');
    host.start();
    await fleet.until(() => host.ready > 0, "it is ready");
    await fleet.until(() => host.rows("link").length === 0, "the device is gone", { step: 100 });
    expect(host.rows("route")).toEqual([]);
    expect(host.complaints()).toContain("subnet changed: containers started before must be restarted");
  });
});

async function restartWith(fleet: Fleet, host: Host, config: string): Promise<void> {
  await host.stop();
  fleet.store.setConfig("", config);
  host.done();
  host.start();
  await fleet.until(() => host.ready > 0, "it is ready again");
}
